"""Every setting as faces show it. Written by `make reference` from `setting_sections.py`, not by hand."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.setting_help import SettingHelp

SETTINGS: Mapping[str, SettingHelp] = {
    "model.base": SettingHelp(
        "base", "SPEC", "smollm2-135m", "base model: registry alias, hub id, local folder or GGUF file"
    ),
    "model.adapter": SettingHelp(
        "adapter",
        "PATH|auto|none",
        "auto",
        "LoRA folder, or several; auto: the newest that fits the base; none: the base alone",
    ),
    "model.adapters_dir": SettingHelp(None, "PATH", "adapters", "folder in which auto looks for adapters"),
    "model.engine": SettingHelp(
        "engine",
        "transformers|llamacpp|vllm",
        "transformers",
        "what runs the model here: transformers, llamacpp (a GGUF file) or vllm",
    ),
    "model.quantization": SettingHelp(
        "quantization",
        "nf4|int8|none",
        "nf4",
        "how the base is loaded: nf4 (4 bits), int8 or none; with llamacpp the file says it",
    ),
    "model.double_quant": SettingHelp(None, "", "true", "quantize the scales of nf4 too: 0.4 bits a parameter less"),
    "model.compute_dtype": SettingHelp(
        None,
        "bfloat16|float16|float32",
        "bfloat16",
        "bfloat16, float16 or float32; an unquantized model on the CPU uses float32",
    ),
    "model.hold": SettingHelp(
        None,
        "auto|packed|dequantized",
        "auto",
        "nf4 weights in memory: packed, or dequantized once, which is faster; auto: dequantized where a quarter of the"
        " machine's memory (of a GPU's, three quarters) holds them",
    ),
    "model.device": SettingHelp("device", "auto|cpu|cuda", "auto", "where it runs; auto: a GPU where there is one"),
    "model.device_map": SettingHelp(
        None, "TEXT|JSON", "auto", "how layers are laid over several GPUs; also a mapping of module to device"
    ),
    "model.revision": SettingHelp(None, "TEXT", "null", "branch, tag or commit of a hub model"),
    "model.trust_remote_code": SettingHelp(
        None, "", "false", "run Python code that comes with the model; only for models you trust"
    ),
    "model.verify_adapter": SettingHelp(None, "", "true", "refuse an adapter that was made for another base"),
    "model.template_arguments": SettingHelp(
        None, "JSON", "{}", "for the chat template, such as {enable_thinking: false}; asked and trained with alike"
    ),
    "model.system_role": SettingHelp(
        None,
        "system|user",
        "system",
        "whose turn a system prompt is; user: it opens the first user turn, for templates without a system role",
    ),
    "generation.max_new_tokens": SettingHelp(None, "N", "128", "the most tokens of an answer"),
    "generation.max_reasoning_tokens": SettingHelp(
        None, "N", "0", "so many more for what a model thinks before its answer"
    ),
    "generation.temperature": SettingHelp(None, "X", "0.7", "of sampling; 0 is greedy"),
    "generation.top_p": SettingHelp(None, "X", "0.9", "nucleus sampling: above 0, up to 1"),
    "generation.do_sample": SettingHelp(None, "", "true", "false is greedy"),
    "generation.seed": SettingHelp(
        "seed", "N", "42", "seed of the sampling noise, which belongs to case, epoch and step, not to the batch"
    ),
    "generation.batch_size": SettingHelp("batch-size", "auto|N", "auto", "prompts answered at once: auto or a number"),
    "generation.epochs": SettingHelp("epochs", "N", "1", "how often every case is asked"),
    "generation.timeout": SettingHelp(None, "S", "30.0", "seconds for an answer"),
    "generation.threads": SettingHelp(None, "auto|N", "auto", "CPU threads: auto (measured for a second) or a number"),
    "generation.long_prompt": SettingHelp(
        None, "error|truncate", "error", "a prompt that does not fit: error, or truncate (and mark the answer)"
    ),
    "generation.cache": SettingHelp(None, "", "true", "reuse stored answers to unchanged questions"),
    "benchmark.prompts": SettingHelp(
        "prompts", "PATH", "[prompts]", "suites (.yaml, .json), .jsonl and .csv files, and folders of these"
    ),
    "benchmark.vocabulary": SettingHelp(None, "PATH", "prompts/tools.yaml", "the tools and their terms"),
    "benchmark.categories": SettingHelp(
        None, "A,B", "null", "only these categories, such as [tool_routing]; null: all"
    ),
    "benchmark.limit": SettingHelp("limit", "N", "null", "only the first so many cases; null: all"),
    "benchmark.chunk": SettingHelp(
        "chunk",
        "auto|off|N",
        "auto",
        "cases that are one item together, each a subtest: a number, off (each case is an item), or auto (1,000 where "
        "there are more than 2,000 cases)",
    ),
    "benchmark.strict": SettingHelp(
        "strict", "", "false", "refuse an adapter that was trained on what the cases ask, instead of announcing it"
    ),
    "metrics.cosine_similarity": SettingHelp(None, "", "true", "how near the two answers are in meaning"),
    "metrics.keywords": SettingHelp(None, "", "true", "keywords of the case that the answer has"),
    "metrics.relevance": SettingHelp(None, "", "true", "terms of the vocabulary that the answer has"),
    "metrics.tool_accuracy": SettingHelp(None, "", "true", "whether the answer routes to the case's tool"),
    "metrics.call_form": SettingHelp(
        None,
        "TEXT",
        "auto",
        "what names a tool in an answer: auto, tool_calls, json, bracket, mention, or a regular expression",
    ),
    "metrics.call_accuracy": SettingHelp(
        None, "", "true", "whether the answer makes the tool calls that the case expects (`calls`)"
    ),
    "metrics.latency_s": SettingHelp(None, "", "true", "seconds for the answer"),
    "metrics.tokens_per_s": SettingHelp(None, "", "true", "tokens of the answer over its seconds"),
    "metrics.reference": SettingHelp(
        None,
        "A,B",
        "[]",
        "more metrics: bleu, chrf, rouge_1, rouge_2, rouge_l, semantic_similarity, exact_match (against a case's "
        "reference), repetition, runaway_dialogue; docs/evaluate.md says what they mean",
    ),
    "metrics.case_sensitive": SettingHelp(None, "", "false", "true tells Volume from volume"),
    "metrics.accent_sensitive": SettingHelp(None, "", "false", "true tells café from cafe"),
    "output.report_dir": SettingHelp("report-dir", "DIR", "reports", "folder of reports and runs"),
    "output.json": SettingHelp(None, "", "true", "write benchmark.json, autotune.json"),
    "output.png": SettingHelp(
        None, "", "true", "write benchmark.png, the figures of differences and of the trend, and autotune.png"
    ),
    "output.text": SettingHelp(None, "", "true", "write the text analysis"),
    "output.html": SettingHelp(None, "", "true", "write benchmark.html and autotune.html, one file each to share"),
    "output.markdown": SettingHelp(None, "", "true", "write benchmark.md, for a pull request's comment"),
    "output.language": SettingHelp(None, "en|fr", "en", "language of the reports: en or fr"),
    "output.answer_chars": SettingHelp(
        None, "N", "500", "answers are cut to this in the report; the journal keeps all of them"
    ),
    "logging.level": SettingHelp(
        None,
        "DEBUG|INFO|WARNING|ERROR|CRITICAL",
        "WARNING",
        "least level of messages shown: DEBUG, INFO, WARNING, ERROR or CRITICAL",
    ),
    "logging.progress": SettingHelp(None, "", "true", "answers done, tokens/s, time left"),
    "logging.show_gpu": SettingHelp(None, "", "true", "memory of each GPU"),
    "logging.show_timings": SettingHelp(
        None, "", "true", "seconds of each answer: the latest in the progress line, and under that of `llmbench query`"
    ),
    "server.url": SettingHelp(
        "server", "URL", "null", "OpenAI-compatible server that is asked, such as http://127.0.0.1:8000/v1"
    ),
    "server.model": SettingHelp("server-model", "NAME", "null", "the server's name for the base"),
    "server.adapter": SettingHelp(
        "server-adapter",
        "NAME",
        "null",
        "the server's name for the fine-tune; lora:0 picks adapter 0 of a llama.cpp server",
    ),
    "server.adapter_body": SettingHelp(
        None, "JSON", "null", "merged into requests to the fine-tune, such as {lora: [{id: 0, scale: 1.0}]}"
    ),
    "server.base_body": SettingHelp(None, "JSON", "null", "merged into requests to the base"),
    "server.concurrency": SettingHelp(None, "N", "8", "requests under way at once"),
    "server.retries": SettingHelp(None, "N", "3", "after 429, 5xx or no connection; never after the first byte"),
    "server.headers": SettingHelp(None, "JSON", "{}", "more headers of each request"),
    "server.stream": SettingHelp(
        None, "", "true", "read answers as they are made; needed for the time to the first token"
    ),
    "server.tool_choice": SettingHelp(
        None,
        "auto|required|none|TEXT",
        "null",
        "for cases with tools: auto, required, none, or a tool's name; null leaves it out",
    ),
    "gate.kind": SettingHelp(
        "gate",
        "off|regression|improvement",
        '"off"',
        "what makes the session fail: regression, worse than the baseline; improvement, not better than its base; exit"
        " code 1",
    ),
    "gate.baseline": SettingHelp(
        "compare", "RUN", "null", "run to compare with: number, name, path or git ref; null: each adapter with its base"
    ),
    "gate.metrics": SettingHelp(
        None, "A,B", "[relevance, keywords, tool_accuracy, call_accuracy]", "metrics that gate"
    ),
    "gate.margin": SettingHelp("margin", "X", "0.0", "a change up to this does not count, in the metric's own unit"),
    "gate.margins": SettingHelp(None, "JSON", "{}", "margins of single metrics, such as {relevance: 0.05}"),
    "gate.alpha": SettingHelp("alpha", "X", "0.05", "chance of a false alarm, in the whole gate"),
    "gate.categories": SettingHelp(None, "", "true", "look for a regression in each category too"),
    "gate.missing_baseline": SettingHelp(None, "fail|warn", "fail", "fail or warn when the baseline is not there"),
    "gate.inconclusive": SettingHelp(
        None, "auto|pass|fail", "auto", "pass or fail; auto passes a regression gate and fails an improvement gate"
    ),
    "gate.unscored": SettingHelp(
        None,
        "worst|drop",
        "worst",
        "worst or drop: what an answer counts that one side lost to an error, a time-out or its thinking",
    ),
    "gate.confirm": SettingHelp(
        "confirm", "", "false", "ask both sides again, with fresh seeds, before the session fails"
    ),
    "load.arrivals": SettingHelp(
        None, "staggered|burst", "staggered", "people spread over a cycle of theirs; burst: all at once"
    ),
    "load.messages": SettingHelp(
        None, "N", "3", "messages of a conversation, after which the same person begins another"
    ),
    "load.history": SettingHelp(None, "N", "4", "earlier messages sent along, answers included"),
    "load.cooldown": SettingHelp(None, "S", "10.0", "seconds between an answer and the next message"),
    "load.jitter": SettingHelp(None, "X", "0.2", "a cooldown varies by up to this share"),
    "load.conversations": SettingHelp(
        None, "FILE", "null", '.jsonl of chats, {"messages": [...]} a line; null: the suites\' prompts'
    ),
    "load.latency": SettingHelp("latency", "S", "3.0", "seconds that an answer may take under load"),
    "load.quantile": SettingHelp(
        "quantile", "X|strict", "0.95", "share of answers that must come within the latency; strict: all of them"
    ),
    "load.measured": SettingHelp(
        None, "total|first_token", "total", "what the latency is of: total, the whole answer, or first_token"
    ),
    "load.max_users": SettingHelp("max-users", "N", "50", "the most users tried"),
    "load.max_rate": SettingHelp(None, "N", "50.0", "the most requests a second tried"),
    "load.max_history": SettingHelp(None, "N", "16", "the longest history tried, in messages"),
    "load.max_tokens": SettingHelp(None, "N", "512", "the longest answers tried"),
    "load.temperatures": SettingHelp(
        None, "A,B", "[0.0, 0.3, 0.7, 1.0]", "temperatures scored, besides the one in use"
    ),
    "load.users": SettingHelp(
        None, "N", "null", "users held while history and answer length are searched; null: what the server holds"
    ),
    "load.budget": SettingHelp(None, "N", "2000", "requests that one search may send"),
    "load.time_limit": SettingHelp(
        None, "S", "null", "seconds after which a search begins no further trial; null for no limit"
    ),
    "load.confidence": SettingHelp(None, "X", "0.98", "sureness at which a search stops early"),
    "load.processes": SettingHelp(
        None,
        "auto|ray|N",
        "auto",
        "processes of the load generator: a number, auto (more when one is the bottleneck), or ray: one on each "
        "machine of a cluster, or ray.actors",
    ),
    "load.scrape": SettingHelp(None, "", "true", "read the server's /metrics and the GPUs during trials"),
    "load.require_users": SettingHelp("require-users", "N", "null", "fail unless so many users are surely held"),
    "load.out": SettingHelp(None, "FILE", "configs/model_limits.json", "file of the limits found"),
    "load.targets": SettingHelp(
        None, "A,B", "[]", "several servers or models in one report: [{url: http://127.0.0.1:8000/v1, model: a}, ...]"
    ),
    "context.model": SettingHelp(
        "model",
        "NAME",
        "null",
        "family member that the server runs, such as medium: its longest context and tokenizer are known",
    ),
    "context.lengths": SettingHelp(
        "lengths",
        "N,N",
        "auto",
        "prompt lengths in tokens, rising; auto: doubled from 256 up to what the server accepts",
    ),
    "context.max_context": SettingHelp(
        "max-context",
        "N",
        "null",
        "longest prompt that is to be answered (what is accepted is tried an answer's length further); null: twice "
        "what the server announces, at most 131072 where it is silent",
    ),
    "context.depths": SettingHelp(
        None, "A,B", "[0.0, 0.25, 0.5, 0.75, 1.0]", "where the facts stand: 0 is the prompt's beginning, 1 its end"
    ),
    "context.kinds": SettingHelp(
        None,
        "A,B",
        "[one, several, distractors]",
        "what is asked for: one fact, several, or one among look-alike distractors",
    ),
    "context.languages": SettingHelp(None, "both|en|fr", "both", "language of the prompts: en or fr, or both"),
    "context.repeats": SettingHelp(None, "N", "1", "questions of each kind, language and depth at every length"),
    "context.answer_tokens": SettingHelp(None, "N", "48", "the most tokens of an answer"),
    "context.probes": SettingHelp(None, "N", "60", "prompts that the search for the longest one in time may send"),
    "context.precision": SettingHelp(
        None, "X", "0.02", "half of that length's interval, as a share of it, at which it stops"
    ),
    "context.margin": SettingHelp(None, "X", "0.1", "fall of the share of facts found that counts for none"),
    "context.timeout": SettingHelp(None, "X", "600.0", "seconds for one answer"),
    "context.time_limit": SettingHelp(
        None, "S", "null", "seconds after which no further prompt is sent; null for no limit"
    ),
    "context.tokenizer": SettingHelp(
        None,
        "TEXT",
        "null",
        "model whose tokenizer counts, for a server that does not: alias, folder, hub id or GGUF file",
    ),
    "context.require": SettingHelp(
        "require-context", "N", "null", "fail unless prompts of so many tokens are accepted, in time and answered right"
    ),
    "serving.engine": SettingHelp(
        None, "vllm|llamacpp|sglang", "vllm", "the server's program: vllm, llamacpp or sglang"
    ),
    "serving.max_context": SettingHelp(
        None, "N", "null", "tokens that a request may hold, prompt and answer; null: what the model was trained on"
    ),
    "serving.slots": SettingHelp(
        None, "N", "null", "requests answered at once, each at the whole context; null: as many as memory holds"
    ),
    "serving.kv_type": SettingHelp(
        None,
        "f16|bf16|fp8|q8_0|q4_0",
        "null",
        "how keys and values are stored: f16, bf16, fp8, and q8_0, q4_0 of llamacpp; null: 16 bits",
    ),
    "serving.memory": SettingHelp(None, "GB", "null", "GB of each GPU, or of the CPU; null: what this machine has"),
    "serving.gpus": SettingHelp(None, "N", "1", "GPUs that share one model"),
    "serving.memory_margin": SettingHelp(None, "X", "0.1", "share of the memory that stays free"),
    "serving.batch_tokens": SettingHelp(
        None, "N", "null", "tokens that one step computes at most; null: 8192 on a GPU, 2048 on the CPU"
    ),
    "serving.threads": SettingHelp(None, "N", "null", "CPU threads of llama.cpp; null: the processor's cores"),
    "serving.lora": SettingHelp(None, "JSON", "{}", "fine-tunes served beside the base, such as {mine: adapters/mine}"),
    "serving.max_lora_rank": SettingHelp(
        None, "N", "null", "the largest rank among them; null: what their adapter_config.json say"
    ),
    "serving.arguments": SettingHelp(None, "A,B", "[]", "further arguments of the server, passed on as they are"),
    "serving.vllm_version": SettingHelp(None, "TEXT", "0.32.0", "the vLLM whose flags are written, and whose image"),
    "serving.image": SettingHelp(None, "TEXT", "null", "container image; null: the engine's own"),
    "serving.port": SettingHelp(None, "N", "8000", "port on 127.0.0.1"),
    "serving.endpoints": SettingHelp(
        None, "JSON", "{}", "where models are served, such as {medium: {url: http://127.0.0.1:8000/v1}}"
    ),
    "serving.out": SettingHelp(None, "DIR", "serving", "folder of the generated files, one below it a model"),
    "finetune.dataset": SettingHelp(None, "PATH", "data/train.jsonl", "rows that are trained on"),
    "finetune.heldout": SettingHelp(None, "PATH", "data/heldout.jsonl", "rows that base and fine-tune answer"),
    "finetune.tools": SettingHelp(
        None,
        "A,B",
        "[volume_up, volume_down, get_weather, set_timer, play_music, open_app]",
        "only rows of these tools, so that few steps teach them; null: all rows",
    ),
    "finetune.steps": SettingHelp(None, "N", "72", "steps of the training"),
    "finetune.batch_size": SettingHelp(None, "N", "4", "rows of a step"),
    "finetune.learning_rate": SettingHelp(None, "X", "0.002", "the highest learning rate"),
    "finetune.max_length": SettingHelp(None, "N", "256", "most tokens of a row"),
    "finetune.loss_fall": SettingHelp(None, "X", "0.5", "share by which the loss must fall"),
    "finetune.logit_difference": SettingHelp(
        None, "X", "0.05", "largest difference after reloading the adapter, as a share of the logits' spread"
    ),
    "finetune.memory_margin": SettingHelp(None, "X", "0.15", "share by which memory may exceed the estimate"),
    "finetune.metric_margin": SettingHelp(
        None, "X", "0.1", "share by which a training metric may be worse than in a compared training"
    ),
    "tune.command": SettingHelp(
        None,
        "TEMPLATE",
        "null",
        "what starts a server: {port}, {model}, {context}, {flags} (all settings as the engine's options) or a "
        "setting's name stand in it; null: the embedded llama.cpp, or the engine's own program",
    ),
    "tune.engine": SettingHelp(
        None, "vllm|llamacpp|sglang", "llamacpp", "whose settings are searched: llamacpp, vllm or sglang"
    ),
    "tune.context": SettingHelp(
        None, "N", "2048", "tokens that each request may hold, prompt and answer, whatever the settings"
    ),
    "tune.study": SettingHelp(None, "TEXT", "tune", "name of the study, whose trials are kept in the report folder"),
    "tune.trials": SettingHelp(None, "N", "24", "servers that are started and measured"),
    "tune.vary": SettingHelp(
        None,
        "JSON",
        "{}",
        "settings that are searched, with their values, such as {slots: [2, 4, 8]}; {}: the engine's usual",
    ),
    "tune.fixed": SettingHelp(None, "JSON", "{}", "settings that are the same in each trial, such as {device: cpu}"),
    "tune.baseline": SettingHelp(
        None, "JSON", "{}", "settings that the winner is compared with, over the engine's own defaults"
    ),
    "tune.budget": SettingHelp(None, "N", "600", "requests of one trial's search for users"),
    "tune.trial_time": SettingHelp(None, "S", "120.0", "seconds after which one trial's search asks no further level"),
    "tune.time_limit": SettingHelp(None, "S", "null", "seconds after which no further trial begins; null for no limit"),
    "tune.rounds": SettingHelp(None, "N", "4", "times that winner and baseline are measured again, in turns"),
    "tune.start_timeout": SettingHelp(None, "S", "300.0", "seconds that a server may take to start"),
    "studio.host": SettingHelp(
        None,
        "TEXT",
        "127.0.0.1",
        "address it listens on; any but this machine's own asks for a token in LLMBENCH_STUDIO_TOKEN",
    ),
    "studio.port": SettingHelp(None, "N", "8400", "its port; 0 takes a free one"),
    "studio.folder": SettingHelp(
        None, "DIR", "null", "folder of its datasets and jobs; null: studio in the folder of reports"
    ),
    "studio.upload_mb": SettingHelp(None, "N", "2048", "most MiB of an uploaded dataset"),
    "studio.rows": SettingHelp(None, "N", "5000000", "most rows of an uploaded dataset"),
    "studio.read_s": SettingHelp(None, "X", "600.0", "seconds that reading an uploaded dataset may take"),
    "studio.read_mb": SettingHelp(None, "N", "2048", "MiB of memory that reading an uploaded dataset may take"),
    "studio.idle_s": SettingHelp(None, "X", "300.0", "seconds after which a model that nobody asks is let go"),
    "studio.jobs_at_once": SettingHelp(None, "N", "1", "jobs that run at the same time; the others wait"),
    "studio.spare_mb": SettingHelp(
        None, "N", "256", "MiB of the disk that jobs leave free; one that comes near is stopped with a checkpoint"
    ),
    "studio.cancel_s": SettingHelp(None, "X", "60.0", "seconds that a cancelled job may take to write its checkpoint"),
    "ray.address": SettingHelp(
        "ray",
        "ADDRESS|auto",
        "null",
        "answer on a Ray cluster: its address, such as 10.0.0.5:6379; auto: that of RAY_ADDRESS, or a cluster of this "
        "machine alone for the time of the session",
    ),
    "ray.actors": SettingHelp(
        None,
        "auto|N",
        "auto",
        "actors, each with a model of its own; auto: one a GPU, or one a machine where there is none",
    ),
    "ray.cpus": SettingHelp(
        None,
        "auto|X",
        "auto",
        "CPUs of each actor; auto: 1 beside a GPU, else a machine's CPUs divided among its actors",
    ),
    "ray.gpus": SettingHelp(
        None, "auto|X", "auto", "GPUs of each actor; auto: 1 where the cluster has any and model.device allows it"
    ),
    "ray.attempts": SettingHelp(
        None, "N", "3", "deaths of actors after which a case that they were answering is given up"
    ),
    "ray.start_timeout": SettingHelp(
        None, "S", "120.0", "seconds that the cluster may take to answer, and an actor to find a place"
    ),
}
