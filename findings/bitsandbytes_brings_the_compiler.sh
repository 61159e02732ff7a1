#!/usr/bin/env bash
# peft 0.21.2 and bitsandbytes 0.50.2 with torch 2.13.0: `import peft` loads PyTorch's compiler where nothing is compiled.
#
# PEFT imports bitsandbytes wherever it is installed, quantized or not. That decorates functions with `torch.compile` as
# it is imported, which loads `torch._inductor`, whose imports warn that TorchScript is deprecated: in a pytest session
# the warnings are the user's. Expected: an import of PEFT loads no compiler. Seen: it does, with a dozen warnings; with
# TORCHDYNAMO_DISABLE=1 during the import it does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 peft==0.21.2 bitsandbytes==0.50.2 transformers==5.23.0
looked='
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import peft
script = sum("torch.jit" in str(one.message) for one in caught)
print(int("torch._inductor.compile_fx" in sys.modules), script)'
usual=$("$work/venv/bin/python" -c "$looked")
disabled=$(TORCHDYNAMO_DISABLE=1 "$work/venv/bin/python" -c "$looked")
echo "peft 0.21.2, bitsandbytes 0.50.2: compiler loaded, warnings of TorchScript: $usual; with the compiler off: $disabled"
[ "${usual%% *}" = 1 ] && [ "${usual##* }" -gt 0 ] && [ "$disabled" = "0 0" ]
