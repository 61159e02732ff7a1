"""Causes, measured numbers and advice in words. Both languages have the same keys and the same placeholders."""

from __future__ import annotations

ENGLISH = {
    "cause_slots": "Queueing for slots",
    "cause_kv_cache": "Full KV cache",
    "cause_prefill": "Reading prompts",
    "cause_decode": "Shared decoding",
    "cause_alone": "Slow without load",
    "cause_length": "Length of the answers",
    "cause_stalls": "Stalls at any load",
    "cause_errors": "Errors",
    "cause_client": "The load generator",
    "cause_not_reached": "Limit not reached",
    "cause_unknown": "Not told by the measurements",
    "why_slots": (
        "Answers are late because they wait for a free slot: the server writes {slots} at a time, the others queue."
    ),
    "why_slots_uncounted": (
        "Answers are late because they wait in the server's queue: up to {waiting} requests stood in line."
    ),
    "why_kv_cache": (
        "Answers are late because the memory for running conversations (KV cache) is full: {running_max} run,"
        " up to {waiting} wait for room."
    ),
    "why_prefill": (
        "Answers are late because the server is busy reading prompts (prefill), and first tokens wait for that."
    ),
    "why_prefill_pauses": (
        "Answers are late because the server stops writing while it reads other people's prompts (prefill): "
        "tokens pause in mid-answer."
    ),
    "why_history": (
        "Answers are late because a longer history is a longer prompt to read (prefill) before the first token."
    ),
    "why_decode": (
        "Answers are late because all running answers share the decoding rate: each token takes {slower} times as long."
    ),
    "why_alone": (
        "Load is not what makes answers late: most late ones would be late on an idle server too, which takes"
        " {latency_low_s} for a typical answer {at_low}."
    ),
    "why_length": (
        "The length of the answers sets the limit: a token takes {token_low_s}, so longer answers do not fit "
        "into {limit} even without more load."
    ),
    "why_stalls": (
        "Load is not what makes answers late: {stray_share} of them are late far below the limit too. "
        "Something stalls the server now and then."
    ),
    "why_errors": (
        "The server refuses or fails requests: {failed} of the {bad} bad answers {at_high} are errors, most "
        'often "{error}" ({error_count}).'
    ),
    "why_client": (
        "The load generator was the bottleneck {at_high} (CPU {cpu} of a core, its own delay {lag}), so the "
        "server's limit is not known beyond {value}."
    ),
    "why_not_reached": "The limit was not reached: {highest}, the most that was allowed, still keep the promise.",
    "why_nothing_above": "No trial above {value} was made that failed the promise, so nothing tells what would.",
    "why_not_streamed": (
        "Answers were not streamed, so the time before the first token and the time to write cannot be told apart."
    ),
    "why_unknown": (
        "Answers are late {at_high}, and the measured split does not tell why: neither a queue, nor reading "
        "prompts, nor slower tokens stand out."
    ),
    "measured_first": (
        "The first token comes after {first_token_s} {at_high} (median; {late_first_token_s} in late answers), "
        "{first_token_low_s} {at_low}."
    ),
    "measured_gap": "From one token to the next it takes {gap_s} {at_high}, {gap_low_s} {at_low} (99 %: {gap_p99_s}).",
    "measured_lost": "Late answers lost {before_first_share} of their extra time before the first token.",
    "measured_reading": (
        "Reading these prompts one by one takes {reading_share} of the time at {rate} requests/s "
        "({first_token_low_s} each)."
    ),
    "measured_gauges": "The server itself showed up to {running_max} requests running and {waiting_max} waiting.",
    "inferred_slots": (
        "The server does not show its queue; that it has {slots} slots is inferred: so many answers were "
        "written at a time whenever others waited (up to {waiting})."
    ),
    "slots_share_decoding": (
        "Tokens also come {slower} times slower when all slots are busy: more slots alone help only in part."
    ),
    "measured_errors": 'Besides, {failed} requests failed, most often "{error}" ({error_count}).',
    "try_slots": "More parallel slots (llama.cpp: --parallel, vLLM: --max-num-seqs), if memory allows.",
    "try_fewer_tokens": "Shorter answers: a lower max_tokens, or a system prompt that asks for brevity.",
    "try_faster": (
        "A faster server: a GPU or a larger one, a second replica behind a load balancer, or a smaller model."
    ),
    "try_longer_limit": (
        "A longer limit than {limit}, if people accept it; or a limit on the first token when answers stream."
    ),
    "try_cache_memory": (
        "More memory for the KV cache: a higher --gpu-memory-utilization, a quantized cache (--kv-cache-dtype"
        " fp8), a smaller model."
    ),
    "try_shorter_context": "A shorter history or system prompt, so that each conversation takes less memory.",
    "try_prefix_cache": (
        "Prefix caching, so that a conversation's earlier messages are not read again (vLLM: --enable-prefix-"
        "caching, llama.cpp: cache_prompt and one slot a user)."
    ),
    "try_shorter_history": "A shorter history or system prompt: less to read for each answer.",
    "try_chunked_prefill": (
        "Chunked prefill (vLLM: --enable-chunked-prefill), so that reading does not stop the writing."
    ),
    "try_quantize": "A quantized model (4 or 8 bits), or speculative decoding: faster tokens.",
    "try_cap_users": "Admit at most {value} at a time, and let the others wait before they are let in.",
    "try_cap_tokens": "Set max_tokens to at most {value}, and look at the share of answers that this cuts off.",
    "try_cap_history": "Send at most {value}, or a summary of what is older.",
    "try_look_for_stalls": (
        "Look for what stalls the server: swapping, model reloads, garbage collection, other programs."
    ),
    "try_quantile_not_strict": "A promise with room for stray stalls: a lower load.quantile.",
    "try_read_errors": "Read the server's log at the time of these errors.",
    "try_server_limits": "Raise the server's own limits: rate limits, queue length, timeouts, open connections.",
    "try_retry_after": (
        "If refusals are intended, let clients wait and ask again: then capacity is the level below them."
    ),
    "try_more_processes": "More client processes: load.processes.",
    "try_other_machine": "Run the load generator on another machine, or on one that is free.",
    "try_raise_highest": "Allow more than {highest} to find the limit.",
    "try_tighter_limit": "Or ask for more: a tighter limit than {limit}.",
    "try_scrape": (
        "Let the server show its queue (llama.cpp: --metrics) with load.scrape on: that tells a queue from prefill."
    ),
    "try_stream": "Stream the answers (server.stream): then the split is measured.",
    "try_more_budget": "More requests for the search: load.budget.",
}

FRENCH = {
    "cause_slots": "Attente d'une place",
    "cause_kv_cache": "Cache KV plein",
    "cause_prefill": "Lecture des demandes",
    "cause_decode": "Décodage partagé",
    "cause_alone": "Lent même sans charge",
    "cause_length": "Longueur des réponses",
    "cause_stalls": "Blocages à toute charge",
    "cause_errors": "Erreurs",
    "cause_client": "Le générateur de charge",
    "cause_not_reached": "Limite non atteinte",
    "cause_unknown": "Non révélée par les mesures",
    "why_slots": (
        "Les réponses tardent parce qu'elles attendent une place : le serveur en écrit {slots} à la fois, les"
        " autres font la queue."
    ),
    "why_slots_uncounted": (
        "Les réponses tardent parce qu'elles attendent dans la file du serveur : jusqu'à {waiting} requêtes y étaient."
    ),
    "why_kv_cache": (
        "Les réponses tardent parce que la mémoire des conversations en cours (cache KV) est pleine : "
        "{running_max} tournent, jusqu'à {waiting} attendent de la place."
    ),
    "why_prefill": (
        "Les réponses tardent parce que le serveur est occupé à lire les demandes (prefill), et les premiers "
        "jetons attendent."
    ),
    "why_prefill_pauses": (
        "Les réponses tardent parce que le serveur cesse d'écrire pendant qu'il lit les demandes des autres "
        "(prefill) : les jetons s'interrompent en pleine réponse."
    ),
    "why_history": (
        "Les réponses tardent parce qu'un historique plus long est une demande plus longue à lire (prefill) "
        "avant le premier jeton."
    ),
    "why_decode": (
        "Les réponses tardent parce que toutes celles en cours partagent le débit de décodage : chaque jeton "
        "prend {slower} fois plus de temps."
    ),
    "why_alone": (
        "Ce n'est pas la charge qui retarde : la plupart des réponses tardives le seraient aussi sur un "
        "serveur au repos, qui met {latency_low_s} pour une réponse typique {at_low}."
    ),
    "why_length": (
        "C'est la longueur des réponses qui fixe la limite : un jeton prend {token_low_s}, des réponses plus "
        "longues n'entrent pas dans {limit}, même sans plus de charge."
    ),
    "why_stalls": (
        "Ce n'est pas la charge qui retarde : {stray_share} des réponses tardent aussi bien en dessous de la "
        "limite. Quelque chose bloque le serveur de temps en temps."
    ),
    "why_errors": (
        "Le serveur refuse des requêtes ou échoue : {failed} des {bad} mauvaises réponses {at_high} sont des "
        "erreurs, le plus souvent « {error} » ({error_count})."
    ),
    "why_client": (
        "Le générateur de charge était le goulot {at_high} (CPU {cpu} d'un cœur, retard propre {lag}) : la "
        "limite du serveur n'est pas connue au-delà de {value}."
    ),
    "why_not_reached": "La limite n'a pas été atteinte : {highest}, le maximum permis, tiennent encore la promesse.",
    "why_nothing_above": (
        "Aucun essai au-dessus de {value} n'a manqué à la promesse : rien ne dit donc ce qui la ferait manquer."
    ),
    "why_not_streamed": (
        "Les réponses n'arrivaient pas en flux : le temps avant le premier jeton et le temps d'écriture ne "
        "peuvent être distingués."
    ),
    "why_unknown": (
        "Les réponses tardent {at_high}, et les mesures ne disent pas pourquoi : ni file d'attente, ni "
        "lecture des demandes, ni jetons plus lents ne se détachent."
    ),
    "measured_first": (
        "Le premier jeton vient après {first_token_s} {at_high} (médiane ; {late_first_token_s} dans les réponses "
        "tardives), {first_token_low_s} {at_low}."
    ),
    "measured_gap": "D'un jeton au suivant il faut {gap_s} {at_high}, {gap_low_s} {at_low} (99 % : {gap_p99_s}).",
    "measured_lost": (
        "Les réponses tardives ont perdu {before_first_share} de leur temps en trop avant le premier jeton."
    ),
    "measured_reading": (
        "Lire ces demandes une à une prend {reading_share} du temps à {rate} requêtes/s ({first_token_low_s} chacune)."
    ),
    "measured_gauges": (
        "Le serveur lui-même a montré jusqu'à {running_max} requêtes en cours et {waiting_max} en attente."
    ),
    "inferred_slots": (
        "Le serveur ne montre pas sa file ; ses {slots} places sont déduites : c'est le nombre de réponses "
        "écrites à la fois chaque fois que d'autres attendaient (jusqu'à {waiting})."
    ),
    "slots_share_decoding": (
        "Les jetons viennent aussi {slower} fois plus lentement quand toutes les places sont prises : plus de"
        " places n'aident qu'en partie."
    ),
    "measured_errors": "En outre, {failed} requêtes ont échoué, le plus souvent « {error} » ({error_count}).",
    "try_slots": (
        "Plus de places en parallèle (llama.cpp : --parallel, vLLM : --max-num-seqs), si la mémoire le permet."
    ),
    "try_fewer_tokens": (
        "Des réponses plus courtes : un max_tokens plus bas, ou une consigne système qui demande d'être bref."
    ),
    "try_faster": (
        "Un serveur plus rapide : un GPU ou un plus grand, une deuxième instance derrière un répartiteur, ou "
        "un modèle plus petit."
    ),
    "try_longer_limit": (
        "Une limite plus longue que {limit}, si les gens l'acceptent ; ou une limite sur le premier jeton "
        "quand les réponses arrivent en flux."
    ),
    "try_cache_memory": (
        "Plus de mémoire pour le cache KV : --gpu-memory-utilization plus haut, cache quantifié (--kv-cache-"
        "dtype fp8), modèle plus petit."
    ),
    "try_shorter_context": (
        "Un historique ou une consigne système plus courts, pour que chaque conversation prenne moins de mémoire."
    ),
    "try_prefix_cache": (
        "Le cache de préfixe, pour ne pas relire les messages précédents d'une conversation (vLLM : --enable-"
        "prefix-caching, llama.cpp : cache_prompt et une place par utilisateur)."
    ),
    "try_shorter_history": "Un historique ou une consigne système plus courts : moins à lire pour chaque réponse.",
    "try_chunked_prefill": (
        "Le prefill par morceaux (vLLM : --enable-chunked-prefill), pour que la lecture n'arrête pas l'écriture."
    ),
    "try_quantize": "Un modèle quantifié (4 ou 8 bits) ou le décodage spéculatif : des jetons plus rapides.",
    "try_cap_users": "Admettre au plus {value} à la fois, et faire attendre les autres avant d'entrer.",
    "try_cap_tokens": "Régler max_tokens à {value} au plus, en regardant la part des réponses que cela coupe.",
    "try_cap_history": "Envoyer au plus {value}, ou un résumé de ce qui est plus ancien.",
    "try_look_for_stalls": (
        "Chercher ce qui bloque le serveur : mémoire d'échange, rechargement du modèle, ramasse-miettes, "
        "autres programmes."
    ),
    "try_quantile_not_strict": "Une promesse qui laisse place à quelques blocages : un load.quantile plus bas.",
    "try_read_errors": "Lire le journal du serveur au moment de ces erreurs.",
    "try_server_limits": (
        "Relever les limites propres au serveur : débit, longueur de file, délais, connexions ouvertes."
    ),
    "try_retry_after": (
        "Si les refus sont voulus, faire attendre les clients puis redemander : la capacité est alors le "
        "niveau juste en dessous."
    ),
    "try_more_processes": "Plus de processus clients : load.processes.",
    "try_other_machine": "Lancer le générateur de charge sur une autre machine, ou sur une machine libre.",
    "try_raise_highest": "Permettre plus que {highest} pour trouver la limite.",
    "try_tighter_limit": "Ou demander plus : une limite plus serrée que {limit}.",
    "try_scrape": (
        "Faire montrer sa file au serveur (llama.cpp : --metrics) avec load.scrape : cela distingue une file "
        "du prefill."
    ),
    "try_stream": "Recevoir les réponses en flux (server.stream) : le partage du temps est alors mesuré.",
    "try_more_budget": "Plus de requêtes pour la recherche : load.budget.",
}
