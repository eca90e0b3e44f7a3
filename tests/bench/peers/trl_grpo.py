#!/usr/bin/env python3
"""TRL's GRPO on the work of bench/iteration.py: prompts of 64 tokens, groups of 8, 128 new tokens each, a reference model, a reward
that is a function, one update a step.

    peers/trl_grpo.py [threads] [MODEL-COMPLETIONS ...]        tiny-64, l100-16 ...

Needs torch, transformers, trl and datasets. Prints the same JSON lines as bench/iteration.py, with "peer": "trl": seconds a step (the
median of those behind the first), and the peak of this process's memory. Weights are random and the vocabulary has no letters: prompts
are ids, which a tokenizer of words w0, w1, ... writes and reads.
"""
import json
import os
import resource
import statistics
import sys
import tempfile
import time

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
os.environ.setdefault("OMP_NUM_THREADS", str(threads))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random

import datasets
import torch
import transformers
import trl
from tokenizers import Tokenizer, models, pre_tokenizers

PROMPT, NEW, GROUP, STEPS = 64, 128, 8, int(os.environ.get("STEPS", "2"))
SHAPES = {"tiny": (6, 4, 256, 704, 4096), "l100": (12, 12, 768, 2048, 32000)}


def a_tokenizer(vocabulary):
    words = {"<pad>": 0, "<unk>": 1, **{f"w{i}": i for i in range(2, vocabulary)}}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<pad>", unk_token="<unk>",
                                                padding_side="left")


def a_model(layers, heads, channels, mlp, vocabulary):
    torch.manual_seed(1)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        num_hidden_layers=layers, num_attention_heads=heads, hidden_size=channels, intermediate_size=mlp,
        vocab_size=vocabulary, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, eos_token_id=0,
        bos_token_id=0))


class Clock(transformers.TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_begin(self, *args, **kwargs):
        self.begun = time.monotonic()

    def on_step_end(self, *args, **kwargs):
        self.times.append(time.monotonic() - self.begun)


def measure(name, completions):
    vocabulary = SHAPES[name][4]
    draw = random.Random(1)
    prompts = [{"prompt": " ".join(f"w{draw.randrange(2, vocabulary)}" for _ in range(PROMPT))}
               for _ in range(STEPS * completions // GROUP)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        settings = trl.GRPOConfig(
            output_dir=out, per_device_train_batch_size=completions, num_generations=GROUP, max_completion_length=NEW,
            max_steps=STEPS, beta=0.04, learning_rate=1e-6, report_to=[], use_cpu=True, bf16=False, logging_steps=1,
            save_strategy="no", gradient_checkpointing=False, generation_kwargs={"min_new_tokens": NEW}, disable_tqdm=True)
        a_model(*SHAPES[name]).save_pretrained(f"{out}/model") # TRL makes the reference model of what the directory holds
        trainer = trl.GRPOTrainer(model=f"{out}/model", args=settings, train_dataset=datasets.Dataset.from_list(prompts),
                                  processing_class=a_tokenizer(vocabulary), callbacks=[clock],
                                  reward_funcs=lambda completions, **_: [float(len(set(c.split()))) for c in completions])
        trainer.train()
    seconds = statistics.median(clock.times[1:] or clock.times)
    line = {"case": "iteration", "peer": "trl", "model": name, "batch": completions, "threads": threads, "dtype": "f32",
            "algorithm": "grpo"}
    print(json.dumps({**line, "value": round(seconds, 3), "unit": "s"}))
    print(json.dumps({**line, "case": "iteration-memory", "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                      "unit": "MB"}), flush=True)


torch.set_num_threads(threads)
transformers.logging.set_verbosity_error()
for case in sys.argv[2:] or ["tiny-64", "l100-16"]:
    measure(case.split("-")[0], int(case.split("-")[1]))
