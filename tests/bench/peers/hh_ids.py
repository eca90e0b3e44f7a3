#!/usr/bin/env python3
"""Token ids of real conversations, so that rlhfd and its peers train on the very same ragged batches.

    peers/hh_ids.py hh-rlhf/train.jsonl.gz VOCABULARY CONVERSATIONS > FILE

A byte-level BPE of VOCABULARY tokens learned from the chosen conversations encodes CONVERSATIONS of them, drawn with a fixed seed and
cut to 512 tokens. One conversation a line.
"""
import gzip
import json
import random
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LONGEST = 512


def main():
    path, vocabulary, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["chosen"] for line in lines]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    random.Random(1).shuffle(texts)
    for text in texts[:count]:
        print(*tokenizer.encode(text).ids[:LONGEST])


if __name__ == "__main__":
    main()
