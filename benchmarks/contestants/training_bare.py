"""Train a LoRA with TRL's SFTTrainer as its documentation has it, and print what the clock said, as JSON.

usage: python training_bare.py MODEL DATASET STEPS BATCH_SIZE THREADS
"""

from __future__ import annotations

import json
import os
import sys
import time

STARTED = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from datasets import load_dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

model_path, dataset, steps, batch_size, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
quantized = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_use_double_quant=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=torch.bfloat16,
)
model = AutoModelForCausalLM.from_pretrained(
    model_path, quantization_config=quantized, dtype=torch.bfloat16, device_map={"": "cpu"}
)
tokenizer = AutoTokenizer.from_pretrained(model_path)
rows = load_dataset("json", data_files=dataset, split="train").select_columns(["prompt", "completion"])
times: dict[str, float] = {}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when the first step and the last one were done."""

    def on_step_end(self, _args: object, _state: object, _control: object, **_: object) -> None:
        """A step is done."""
        times.setdefault("first", time.perf_counter())
        times["last"] = time.perf_counter()


trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        output_dir=os.environ["WORK"],
        max_steps=int(steps),
        per_device_train_batch_size=int(batch_size),
        learning_rate=2e-3,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        max_length=256,
        completion_only_loss=True,
        seed=42,
        use_cpu=True,
        bf16=bool(torch.cpu._is_avx512_bf16_supported()),  # noqa: SLF001  # as the other side decides
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    ),
    train_dataset=rows,
    processing_class=tokenizer,
    peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=8, lora_alpha=16),
    callbacks=[Clock()],
)
trainer.train()
trained = (int(steps) - 1) * int(batch_size)
print(
    json.dumps(
        {
            "first_step_s": times["first"] - STARTED,
            "samples_per_s": trained / (times["last"] - times["first"]),
            "loss": trainer.state.log_history[-2]["loss"],
        }
    )
)
