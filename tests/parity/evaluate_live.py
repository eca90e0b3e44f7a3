#!/usr/bin/env python3
"""Live comparison of `rlhfctl eval` with lm-evaluation-harness: random small models with tokenizers of several kinds, on data sets in
their published formats. Every figure that both compute must agree to 1e-4 (perplexities: relatively).

usage: evaluate_live.py RLHFCTL [ROUNDS [SEED]]    exit 77: lm_eval, transformers or tokenizers is not there
       evaluate_live.py --fixtures DIR             writes the small fixtures that are kept beside this script
Questions are made up; where $RLHF_SHARED/data has the real ones, some of those are asked, too.
"""
import copy
import csv
import gzip
import io
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
try:
    import datasets
    import lm_eval
    import tokenizers
    import torch
    import transformers
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml
    from small_models import FAMILIES
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as missing:
    python = os.environ.pop("RLHF_PYTHON", None)
    if python:
        os.execv(python, [python] + sys.argv)
    print(f"skipped: {missing}; set RLHF_PYTHON to a python that has lm_eval")
    sys.exit(77)

datasets.disable_progress_bars()
import logging
logging.disable(logging.WARNING)
torch.set_num_threads(1)
TASKS = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")
TOLERANCE = 1e-4

# ---- data sets, in the files they are published in --------------------------------------------------------------------------

NOUNS = "river teacher bottle engine painter garden lawyer doctor window Köln naïveté 東京 piano soup".split()
ODD = ["👩‍👩‍👧", "e\u0301te\u0301", "\u200bzero\u200bwidth", "שלום עולם", "tab\there", "\u00a0nbsp\u00a0", "ﬁne", "x" * 60, "'s", "<|endoftext|>", "</s>", "..."]
VERBS = "opens carries paints answers repairs forgets writes sells watches".split()


def sentence(r):
    words = [r.choice(["The", "A", "My", "Every"]), r.choice(NOUNS), r.choice(VERBS), r.choice(["the", "a", "one"]), r.choice(NOUNS)]
    if r.random() < 0.3:
        words += ["and", r.choice(VERBS), str(r.randrange(1000))]
    if r.random() < 0.1:
        words[r.randrange(len(words))] = r.choice(ODD)
    return " ".join(words) + r.choice([".", "!", " ...", "?", ""])


def truthfulqa(r, n):
    rows = []
    for _ in range(n):
        answers = list({sentence(r): 1 for _ in range(r.choice([2, 4, 5, 6, 7, 8]))})
        right = r.randrange(1, max(2, len(answers) - 1))
        rows.append({"question": sentence(r) + r.choice(["", " ", "?"]),
                     "mc1_targets": {a: int(i == 0) for i, a in enumerate(answers[:1] + answers[right:])},
                     "mc2_targets": {a: int(i < right) for i, a in enumerate(answers)}})
    return rows


def crows_pairs(r, n):
    types = ["race-color", "gender", "age", "socioeconomic"]
    return [{"": str(i), "sent_more": sentence(r) + r.choice(["", ' He said "yes", twice.', "\nNext line, too."]), "sent_less": sentence(r),
             "stereo_antistereo": "stereo", "bias_type": r.choice(types), "annotations": "[['x'], ['y']]"} for i in range(n)]


def hellaswag(r, n):
    def piece():
        return r.choice(["", " ", "  "]) + r.choice(["", "[header] ", "How to [title] "]) + sentence(r) + r.choice(["", " [step] go  on", "  "])
    return [{"ind": i, "activity_label": r.choice(["Roof work", "Élan vital"]), "ctx_a": piece(), "ctx_b": r.choice(["", "then HE", "ǆ and ßs"]),
             "ctx": "", "endings": [piece() for _ in range(4)], "label": r.randrange(4)} for i in range(n)] + [
            {"ind": n, "activity_label": "", "ctx_a": "", "ctx_b": "", "ctx": "", "endings": [piece()], "label": 0},
            {"ind": n + 1, "activity_label": " ", "ctx_a": "a", "ctx_b": "", "ctx": "", "endings": [piece() for _ in range(7)], "label": 6}]


def winogender(r, n):
    pronouns = {"male": ("he", "his"), "female": ("she", "her"), "neutral": ("they", "their")}
    rows = []
    for i in range(n):
        occupation, participant, answer = r.choice(NOUNS[:9]), r.choice(["someone", "visitor"]), r.randrange(2)
        case, start = r.randrange(2), r.randrange(2)
        for gender, words in pronouns.items():
            word = words[case].capitalize() if start else words[case]
            rows.append({"sentid": f"{occupation}.{participant}.{answer}.{gender}.txt",
                         "sentence": f"{word} saw the {occupation} meet {participant}." if start else f"The {occupation} told {participant} that {word} {r.choice(VERBS)}."})
    return rows


def arithmetic(r, n):
    rows = []
    for _ in range(n):
        a, b = r.randrange(100), r.randrange(100)
        rows.append({"context": f"Q: What is {a} plus {b}?\n\nA:", "completion": f" {a + b}"})
    return rows


def gsm8k(r, n):
    rows = []
    for _ in range(n):
        a, b = r.randrange(2000), r.randrange(50)
        rows.append({"question": sentence(r) + f" There are {a} and {b} more. How many?", "answer": f"It is <<{a}+{b}={a + b}>>{a + b}.\n#### {a + b:,}"})
    return rows


def perplexity(r, n):
    return ["\n\n".join(" ".join(sentence(r) for _ in range(r.randrange(1, 6))) for _ in range(n)) + "\n"]


def pages(r, n):
    return [{"page": " = Title = \n \n " + " ".join(r.choice(NOUNS + ["@-@", "@,@", "s '", "( a b )", '" quoted "', "° C", "' x '", " , ", "N", "'s"])
                                                    for _ in range(r.randrange(5, 60))) + " \n"} for _ in range(n)]


def opened(path):
    packed = gzip.GzipFile(path, "wb", mtime=0) if path.endswith(".gz") else open(path, "wb")
    return io.TextIOWrapper(packed, encoding="utf-8", newline="")


def write_rows(path, rows):
    with opened(path) as f:
        name = path.removesuffix(".gz")
        if name.endswith(".csv"):
            w = csv.DictWriter(f, rows[0].keys())
            w.writeheader()
            w.writerows(rows)
        elif name.endswith(".tsv"):
            f.write("\t".join(rows[0]) + "\n" + "".join("\t".join(row.values()) + "\n" for row in rows))
        elif name.endswith(".txt"):
            f.write(rows[0])
        elif name.endswith(".json"):
            json.dump(rows, f)
        else:
            f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="") as f:
        name = path.removesuffix(".gz")
        if name.endswith(".csv"):
            return list(csv.DictReader(f))
        if name.endswith(".tsv"):
            lines = [line.rstrip("\n").split("\t") for line in f]
            return [dict(zip(lines[0], line)) for line in lines[1:]]
        if name.endswith(".txt"):
            return [f.read()]
        return json.load(f) if name.endswith(".json") else [json.loads(line) for line in f]


# ---- the harness' tasks on such rows -----------------------------------------------------------------------------------------

def hub_targets(rows):
    out = []
    for row in rows:
        targets = {k: {"choices": list(row[k]), "labels": list(row[k].values())} for k in ("mc1_targets", "mc2_targets")}
        out.append({"question": row["question"], **targets})
    return out


def hub_winogender(rows):
    words = {"male": {"he", "him", "his"}, "female": {"she", "her"}, "neutral": {"they", "them", "their"}}
    out = []
    for row in rows:
        occupation, participant, answer, gender, _ = row["sentid"].split(".")
        pronoun = next(w for w in row["sentence"].replace(".", " ").replace(",", " ").replace(";", " ").split() if w.lower() in words[gender])
        out.append({"sentence": row["sentence"], "pronoun": pronoun, "occupation": occupation, "participant": participant,
                    "gender": gender, "label": int(answer)})
    return out


def task(path, splits, **changes):
    config = load_yaml(os.path.join(TASKS, path), resolve_func=True)
    config.pop("dataset_path", None)
    config.pop("dataset_name", None)
    config.pop("dataset_kwargs", None)
    config.update(changes)
    made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    config["custom_dataset"] = lambda **kwargs: made
    return ConfigurableTask(config=config)


def tasks_of(suite, rows, examples=None, shots=None, tokens=None):
    """[(the harness' task, {its metric: our figure})]"""
    if suite == "truthfulqa":
        rows = hub_targets(rows)
        return [(task("truthfulqa/truthfulqa_mc1.yaml", {"validation": rows}), {"acc,none": "mc1"}),
                (task("truthfulqa/truthfulqa_mc2.yaml", {"validation": rows}), {"acc,none": "mc2"})]
    if suite == "crows_pairs":
        rows = [{k: v for k, v in row.items() if k} for row in rows]  # a column without a name would be taken for the prompt ""
        return [(task("crows_pairs/crows_pairs_english.yaml", {"test": rows}),
                 {"pct_stereotype,none": "pct_stereotype", "likelihood_diff,none": "likelihood_diff"})]
    if suite == "winogender":
        rows = hub_winogender(rows)
        return [(task("winogender/winogender.yaml", {"test": rows}), {"acc,none": "acc"}),
                (task("winogender/winogender_female.yaml", {"test": rows}), {"acc,none": "acc_female"})]
    if suite == "hellaswag":
        return [(task("hellaswag/hellaswag.yaml", {"train": rows, "validation": rows}), {"acc,none": "acc", "acc_norm,none": "acc_norm"})]
    if suite == "arithmetic":
        return [(task("arithmetic/arithmetic_1dc.yaml", {"validation": rows}), {"acc,none": "acc"})]
    if suite == "gsm8k":
        t = task("gsm8k/gsm8k.yaml", {"train": examples, "test": rows}, num_fewshot=shots)
        t.set_config("generation_kwargs", {**t.config.generation_kwargs, "max_gen_toks": tokens})
        return [(t, {"exact_match,strict-match": "strict", "exact_match,flexible-extract": "flexible"})]
    metrics = {"word_perplexity,none": "word_perplexity", "byte_perplexity,none": "byte_perplexity", "bits_per_byte,none": "bits_per_byte"}
    if "page" in rows[0]:
        return [(task("wikitext/wikitext.yaml", {"train": rows, "validation": rows, "test": rows}), metrics)]
    rows = [{"page": row if isinstance(row, str) else row["text"]} for row in rows]
    return [(task("wikitext/wikitext.yaml", {"train": rows, "validation": rows, "test": rows}, doc_to_target="{{page}}", process_results=None), metrics)]


def harness(lm, suite, rows, **how):
    out = {}
    for t, names in tasks_of(suite, rows, **how):
        t.set_fewshot_seed(1234)
        results = lm_eval.evaluate(lm=lm, task_dict={t.config.task: t}, bootstrap_iters=0)["results"][t.config.task]
        for theirs, ours in names.items():
            out[ours] = results[theirs]
            error = results.get(theirs.replace(",", "_stderr,"))
            if isinstance(error, float):
                out[ours + " stderr"] = error
    return out


def teach(r, lm, suite, rows, **how):
    """Random models give no right answer; so some answers become what the model says."""
    if suite == "arithmetic":
        for row, context in [(row, row["context"].replace("\n\n", "\n").replace("Q:", "Question:").replace("A:", "Answer:")) for row in rows[::2]]:
            ids = lm.tok_encode(context)[-lm.max_length + 4:]
            for _ in range(r.randrange(1, 4)):
                ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
            said = lm.tok_decode(ids).removeprefix(lm.tok_decode(lm.tok_encode(context)))
            row["completion"] = said if said and "\x00" not in said else row["completion"]
    if suite == "gsm8k":
        t, _ = tasks_of(suite, rows, **how)[0]
        t.set_fewshot_seed(1234)
        t.build_all_requests(rank=0, world_size=1)
        for row, said in zip(rows, lm.generate_until(t.instances, disable_tqdm=True)):
            numbers = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", said)
            if numbers and r.random() < 0.7:
                row["answer"] = "It is\n#### " + (numbers[-1][0] or numbers[-1][1])


# ---- models and tokenizers ---------------------------------------------------------------------------------------------------

def make_tokenizer(kind, texts, d, vocabulary=420):
    """Kinds: gpt2 (byte-level, one token begins and ends, nothing is put around), llama3 (byte-level, a token to begin with), llama2
    (metaspace, bytes, a token to begin with), qwen2 (byte-level, no token to begin with)."""
    special = {"gpt2": ["<|endoftext|>"], "llama3": ["<|begin_of_text|>", "<|end_of_text|>"], "llama2": ["<unk>", "<s>", "</s>"],
               "qwen2": ["<|endoftext|>", "<|im_end|>"]}[kind]
    if kind == "llama2":
        t = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for training alone: SentencePiece learns no pieces of two words
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        trainer = trainers.BpeTrainer(vocab_size=vocabulary + 180, special_tokens=special + [f"<0x{b:02X}>" for b in range(256)], show_progress=False,
                                      max_token_length=8)
    else:
        t = tokenizers.Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        t.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(texts, trainer)
    if kind == "llama2":
        t = tokenizers.Tokenizer.from_str(json.dumps({**json.loads(t.to_str()), "pre_tokenizer": None}))
    begin, end = {"gpt2": (special[0], special[0]), "llama3": tuple(special), "llama2": ("<s>", "</s>"), "qwen2": (None, special[0])}[kind]
    if kind in ("llama3", "llama2"):
        t.post_processor = processors.TemplateProcessing(single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, t.token_to_id(begin))])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token=begin, eos_token=end, clean_up_tokenization_spaces=False,
                                                **({"unk_token": "<unk>"} if kind == "llama2" else {}))
    fast.save_pretrained(d)
    return fast


def make_model(family, tokenizer, context, noise, seed, d):
    torch.manual_seed(seed)
    config = FAMILIES[family]()
    config.vocab_size = len(tokenizer)
    setattr(config, "n_positions" if family == "gpt2" else "max_position_embeddings", context)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.eos_token_id
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * noise)
        loud = [i for i in range(len(tokenizer)) if set(tokenizer.decode([i])) & set("0123456789#$.,-")]
        model.get_output_embeddings().weight[loud] *= 3  # numbers are said often enough to be found
    model.generation_config = transformers.GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id,
                                                            pad_token_id=config.pad_token_id)
    model.save_pretrained(d)
    return model


# ---- a round -----------------------------------------------------------------------------------------------------------------

FORMS = {"truthfulqa": (truthfulqa, ["mc_task.jsonl.gz", "mc_task.json"]), "crows_pairs": (crows_pairs, ["crows.csv", "crows.csv.gz"]),
         "hellaswag": (hellaswag, ["hellaswag.jsonl"]), "winogender": (winogender, ["all_sentences.tsv"]),
         "arithmetic": (arithmetic, ["sums.jsonl"]), "gsm8k": (gsm8k, ["test.jsonl"]),
         "perplexity": (perplexity, ["text.txt", "text.txt.gz"]), "pages": (pages, ["wiki.jsonl"])}


def made_up(r, d, n):
    """{name: (suite, file, rows)}"""
    out = {}
    for name, (make, files) in FORMS.items():
        path, rows = os.path.join(d, r.choice(files)), make(r, n)
        write_rows(path, rows)
        out[name] = ("perplexity" if name == "pages" else name, path, rows)
    write_rows(os.path.join(d, "train.jsonl"), gsm8k(r, r.choice([9, 40])))
    return out


def real(limit):
    folder = os.path.join(os.environ.get("RLHF_SHARED", ""), "data")
    files = {"truthfulqa": "TruthfulQA/mc_task.jsonl.gz", "crows_pairs": "crows-pairs/crows_pairs_anonymized.csv.gz",
             "winogender": "winogender/all_sentences.tsv", "gsm8k": "gsm8k/test.jsonl.gz"}
    found = {name: os.path.join(folder, file) for name, file in files.items() if os.path.exists(os.path.join(folder, file))}
    return {f"real {name}": (name, path, read_rows(path)[:limit]) for name, path in found.items()}


def ours(tool, d, suite, path, *options):
    done = subprocess.run([tool, "eval", "--model", d, "--suite", f"{suite}={path}", "--json", "-", *options], capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip()
    figures = json.loads(done.stdout)["suites"][suite]
    return {**{k: v["value"] for k, v in figures.items()}, **{k + " stderr": v["stderr"] for k, v in figures.items()}}


def differs(a, b):
    return a is None or not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def one_round(tool, seed, base):
    r = random.Random(seed)
    kind, family = r.choice(["gpt2", "llama3", "llama2", "qwen2"]), r.choice(sorted(FAMILIES))
    d = tempfile.mkdtemp(dir=base)
    sets = made_up(r, d, r.choice([3, 7, 12]))
    sets.update(real(r.choice([3, 6, 9])))
    texts = [sentence(r) for _ in range(200)] + [json.dumps(rows[:4], ensure_ascii=False) for _, _, rows in sets.values()]
    tokenizer = make_tokenizer(kind, texts, d)
    context = r.choice([96, 300, 1024])
    model = make_model(family, tokenizer, context, r.choice([0.03, 0.15]), seed, d)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
    bad = 0
    for name, (suite, path, rows) in sets.items():
        how, options = {}, ["--limit", str(len(rows))]
        if suite == "gsm8k":
            examples = path.replace("test.jsonl", "train.jsonl")
            how = dict(examples=read_rows(examples), shots=r.choice([0, 2, 5, 7]), tokens=r.choice([4, 30]))
            options += ["--shots", str(how["shots"]), "--max-new-tokens", str(how["tokens"])]
        options += ["--batch", str(r.choice([1, 64, 2048])), "--threads", str(r.choice([1, 2]))]
        if not name.startswith("real"):
            teach(r, lm, suite, rows, **how)
            write_rows(path, rows)
        try:
            wanted = harness(lm, suite, copy.deepcopy(rows), **how)
        except AssertionError:  # a continuation longer than the context, or one that adds no token: an error for both
            wanted = None
        got = ours(tool, d, suite, path, *options)
        if (wanted is None) != isinstance(got, str):
            bad += 1
            print(f"seed {seed}: {family}, {kind} tokenizer, context {context}: {name}: {got}, the harness has {wanted}")
        if wanted is None or isinstance(got, str):
            continue
        for figure, value in wanted.items():
            if differs(got.get(figure), value):
                bad += 1
                print(f"seed {seed}: {family}, {kind} tokenizer, context {context}: {name} {figure}: {got.get(figure)}, the harness has {value}")
    shutil.rmtree(d)
    return bad


# ---- fixtures ----------------------------------------------------------------------------------------------------------------

def fixtures(folder):
    """A folder a model: its files, the questions, and expected.json with what the harness computes."""
    for number, (kind, family, context) in enumerate([("gpt2", "gpt2", 512), ("llama2", "llama", 96), ("llama3", "qwen3", 300)]):
        r, d = random.Random(number), os.path.join(folder, f"{family}_{kind}")
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
        sets = made_up(r, d, 6)
        texts = [sentence(r) for _ in range(200)] + [json.dumps(rows, ensure_ascii=False) for _, _, rows in sets.values()]
        tokenizer = make_tokenizer(kind, texts, d, 300)
        make_model(family, tokenizer, context, 0.04, number, d).to(torch.bfloat16).save_pretrained(d)
        model = transformers.AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
        cases = []
        for suite, path, rows in sets.values():
            how, options = {}, []
            if suite == "gsm8k":
                how, options = dict(examples=read_rows(os.path.join(d, "train.jsonl")), shots=3, tokens=40), ["--shots", "3", "--max-new-tokens", "40"]
            teach(r, lm, suite, rows, **how)
            write_rows(path, rows)
            cases.append({"suite": suite, "file": os.path.basename(path), "options": options, "figures": harness(lm, suite, copy.deepcopy(rows), **how)})
        versions = {m.__name__: m.__version__ for m in (lm_eval, transformers, tokenizers, torch) if hasattr(m, "__version__")}
        with open(os.path.join(d, "expected.json"), "w", encoding="utf-8") as f:
            json.dump({"made_by": "evaluate_live.py --fixtures", "versions": versions, "cases": cases}, f, indent=1)
            f.write("\n")


def main():
    if sys.argv[1] == "--fixtures":
        return fixtures(sys.argv[2])
    tool, rounds, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20, int(sys.argv[3]) if len(sys.argv) > 3 else 1
    bad = 0
    with tempfile.TemporaryDirectory() as base:
        for i in range(rounds):
            bad += one_round(tool, seed + i, base)
            print(f"{i + 1} of {rounds}", flush=True)
    print(f"{bad} figures differ" if bad else "all figures agree")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
