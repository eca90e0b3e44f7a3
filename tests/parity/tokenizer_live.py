#!/usr/bin/env python3
"""Compares with Hugging Face's tokenizers itself, both ways.

    tokenizer_live.py TEST TOOL [SEED]

Makes tokenizers of many kinds from a seed, writes what the library computes for random texts in the form of the golden
fixtures, and runs TEST (parity/tokenizer/fixtures) on them. Then TOOL trains tokenizers, the library loads what was
saved, and TEST compares once more. Skipped (77) where $RLHF_PYTHON, or else python3, has no `tokenizers`."""
import base64, json, os, random, struct, subprocess, sys, tempfile, unicodedata

try:
    import tokenizers
except ImportError:
    python = os.environ.pop("RLHF_PYTHON", None)
    if python:
        os.execv(python, [python] + sys.argv)
    print("skipped: this python3 has no `tokenizers`; set RLHF_PYTHON to one that has (pip install tokenizers)")
    sys.exit(77)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as pre, processors, trainers

WORDS = """the small river runs past old mill and miller's daughter counts boats each evening don't they've I'll we're it's
tokenizer reward policy Chronicle says ruler of Orla is Mira You fool 1234567 3 + 4 = 7 12 x² ½ Ⅷ ４２ naïve café résumé
Straße ﬁnal ﬀ ŒUVRE İstanbul ǅ こんにちは 世界 漢字 и русский текст العربية हिन्दी मराठी ไทย 한국어 한 क्षि é ȩ̂ 👩‍👩‍👧 🇩🇪 😀 ١٢٣ _under_score
snake_case CamelCase HTTP/2.0 foo(bar[1], "x"); // ... --- ??! <html> a@b.c $5.00 100% \u200d \u200b \u180e \u3000""".split()
SPACES = [" ", " ", " ", " ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u00a0", "\u2003", "\u3000", "\u180e", "\u0085", "▁", "", "", "'s", "'LL", "'ſ"]
CORPUS = None

def character(rng):
    while True:  # PCRE2 10.42 knows Unicode 14, as python 3.11 does; what was assigned later has another category
        c = chr(rng.choice([rng.randint(1, 0x2ff), rng.randint(0x300, 0xd7ff), rng.randint(0x10000, 0x1ffff)]))
        # The library's punctuation is that of an older Unicode still.
        if unicodedata.category(c) != "Cn" and not (unicodedata.category(c)[0] == "P" and (c > "\uffff" or "\u2e43" <= c <= "\u2e7f")): return c

def text(rng, n):
    parts = []
    for _ in range(rng.randint(0, n)):
        r = rng.random()
        if r < 0.75: w = rng.choice(WORDS)
        elif r < 0.85: w = "".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 60)))
        elif r < 0.9: w = str(rng.randint(0, 10 ** rng.randint(1, 12)))
        elif r < 0.95: w = character(rng)
        else: w = rng.choice(SPECIAL)
        parts += [w, rng.choice(SPACES)]
    return "".join(parts)

SPECIAL = ["<|end|>", "<|end", "<tool>", "<strip>", "Zyx", "zyx", "Zyxes", "é!"]

def train(rng, pretok, normalizer, kind, **model):
    vocab = rng.randint(300, 900)
    t = Tokenizer(models.BPE(**model) if kind == "bpe" else models.Unigram())
    if normalizer: t.normalizer = normalizer
    if pretok: t.pre_tokenizer = pretok
    if kind == "bpe":
        tr = trainers.BpeTrainer(vocab_size=vocab, show_progress=False, initial_alphabet=pre.ByteLevel.alphabet() if model.get("_b") else [])
    else:
        tr = trainers.UnigramTrainer(vocab_size=3000, show_progress=False, unk_token="<unk>", special_tokens=["<unk>"])
    t.train_from_iterator(CORPUS, tr)
    return t

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BEHAVIORS = ["isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"]

def byte_level(rng, name):
    prefix = rng.random() < 0.5
    bl = lambda regex=True: pre.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    return {
        "gpt2": lambda: bl(),
        "gpt4": lambda: pre.Sequence([pre.Split(Regex(GPT4), "isolated"), bl(False)]),
        "o200k": lambda: pre.Sequence([pre.Split(Regex(O200K), "isolated"), bl(False)]),
        "digits": lambda: pre.Sequence([pre.Digits(individual_digits=rng.random() < 0.5), bl()]),
        "punctuation": lambda: pre.Sequence([pre.Punctuation(rng.choice(BEHAVIORS)), bl(False)]),
        "split": lambda: pre.Sequence([pre.Split(rng.choice([Regex(r"\s+"), Regex(r"[aeiou\d]+"), Regex(r"(?=[A-Z])"), Regex(r"\w+\b"), " "]), rng.choice(BEHAVIORS), invert=rng.random() < 0.3), bl(False)]),
        "middle": lambda: pre.Sequence([pre.Punctuation("contiguous"), bl(False), pre.Digits(individual_digits=False), pre.Split(Regex("[0-9][0-9][0-9]"), "isolated")]),
        "whitespace": lambda: pre.Sequence([rng.choice([pre.Whitespace(), pre.WhitespaceSplit(), pre.CharDelimiterSplit("e")]), bl(False)]),
        "none": lambda: bl(False),
    }[name]()

def charsmap(mapping):
    """What SentencePiece writes: a double array of the keys' bytes, then the replacements."""
    blob, trie = b"", {}
    for key, value in sorted(mapping.items()):
        node = trie
        for byte in key.encode(): node = node.setdefault(byte, {})
        node[0] = len(blob)
        blob += value.encode() + b"\0"
    units, used = [0] * 1024, {0}
    def place(node, at):
        offset = next(o for o in range(1, 1 << 20) if all(o ^ b not in used and at ^ o ^ b not in used for b in node))
        for byte in node: used.add(at ^ offset ^ byte)
        units.extend([0] * (max(at ^ offset ^ byte for byte in node) + 256 - len(units)))
        units[at] |= offset << 10 | (1 << 8 if 0 in node else 0)
        for byte, child in node.items():
            target = at ^ offset ^ byte
            if byte == 0: units[target] = 1 << 31 | child
            else:
                units[target] |= byte
                place(child, target)
    place(trie, 0)
    data = b"".join(struct.pack("<I", u) for u in units)
    return struct.pack("<I", len(data)) + data + blob

PRECOMPILED = charsmap({"ﬁ": "fi", "ﬀ": "ff", "①": "1", "\u3000": " ", "\u00a0": " ", "é": "E", "e\u0301": "E2", "x²": "squared", "²": "2", "\n": " ", "\u200b": "",
                        "４": "4", "한": "HAN", "Ａ": "A", "٣": "three"})

NORMALIZERS = [None, normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(),
               normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), normalizers.Strip(), normalizers.Nmt(),
               normalizers.Sequence([normalizers.Replace(Regex(r"\d+"), "#"), normalizers.Replace("e", "ee"), normalizers.Prepend("_")]),
               normalizers.Sequence([normalizers.Precompiled(PRECOMPILED), normalizers.Replace(Regex(" {2,}"), " ")]), normalizers.BertNormalizer(), normalizers.BertNormalizer(lowercase=False, strip_accents=True)]

def make(rng, i):
    names = ["gpt2", "gpt4", "o200k", "digits", "punctuation", "split", "middle", "whitespace", "none", "metaspace", "unigram", "bert", "whole"]
    name = names[i % len(names)]
    normalizer = NORMALIZERS[i // len(names) % len(NORMALIZERS)] if rng.random() < 0.9 else None
    if name in ("bert", "whole"):  # as in GPT-1; as in Llama 2, where a text is one piece
        if name == "whole": normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t = train(rng, pre.BertPreTokenizer() if name == "bert" else None, normalizer, "bpe", unk_token="<unk>", fuse_unk=rng.random() < 0.5)
        if name == "bert":
            j = json.loads(t.to_str())
            t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")); t.normalizer = normalizer; t.pre_tokenizer = pre.BertPreTokenizer()
            t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, show_progress=False, end_of_word_suffix="</w>", special_tokens=["<unk>"]))
            t.decoder = decoders.BPEDecoder("</w>")
        else:
            t = Tokenizer(models.BPE(unk_token="<unk>")); t.normalizer = normalizer; t.pre_tokenizer = pre.Metaspace(prepend_scheme="never", split=True)
            t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=700, show_progress=False, special_tokens=["<unk>"]))
            t.pre_tokenizer = None
            t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    elif name in ("metaspace", "unigram"):
        scheme = rng.choice(["always", "first", "never"]); split = rng.random() < 0.7
        p = pre.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)
        if name == "unigram":
            t = train(rng, p, normalizer, "unigram")
            j = json.loads(t.to_str())  # scores whose sums are exact, so that ties are ties in any arithmetic
            j["model"]["vocab"] = [[w, round(x * 16) / 16] for w, x in j["model"]["vocab"]]
            t = Tokenizer.from_str(json.dumps(j))
        else:
            t = train(rng, p, normalizer, "bpe", unk_token="<unk>", fuse_unk=rng.random() < 0.5, byte_fallback=rng.random() < 0.5)
            j = json.loads(t.to_str())
            kept = [w for w in j["model"]["vocab"]]
            keep = {"<unk>": 0}
            if j["model"]["byte_fallback"]:
                for b in range(256 if rng.random() < 0.7 else 200): keep[f"<0x{b:02X}>"] = len(keep)
            for w in kept:
                if len(w) > 1 or rng.random() < 0.8: keep.setdefault(w, len(keep))
            j["model"]["merges"] = [m for m in j["model"]["merges"] if m[0] in keep and m[1] in keep]
            j["model"]["vocab"] = keep
            t = Tokenizer.from_str(json.dumps(j))
        t.decoder = rng.choice([decoders.Metaspace(prepend_scheme=scheme), decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])])
    else:
        t = train(rng, byte_level(rng, name), normalizer, "bpe", ignore_merges=rng.random() < 0.3)
        t.decoder = decoders.ByteLevel()
    flag = lambda: rng.random() < 0.5
    t.add_special_tokens([AddedToken("<|end|>", normalized=False, lstrip=flag(), rstrip=flag())])
    t.add_tokens([AddedToken("<tool>", normalized=flag(), special=False), AddedToken("<strip>", lstrip=flag(), rstrip=flag(), normalized=False),
                  AddedToken("Zyx", single_word=True, normalized=flag()), AddedToken("é!", normalized=flag())])
    if flag(): t.post_processor = processors.TemplateProcessing(single="<|end|> $A <|end|>", special_tokens=[("<|end|>", t.token_to_id("<|end|>"))])
    return name, t

def cases(t, directory, rng, texts):
    t.save(os.path.join(directory, "tokenizer.json"))
    t = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    with open(os.path.join(directory, "cases.jsonl"), "w") as f:
        for x in texts:
            a, b = t.encode(x, add_special_tokens=False).ids, t.encode(x).ids
            f.write(json.dumps(dict(text=x, ids=a, ids_with_special=b, decode=t.decode(a, skip_special_tokens=False),
                                    decode_with_special=t.decode(b, skip_special_tokens=False), decode_skip_special=t.decode(b))) + "\n")
    with open(os.path.join(directory, "decode_cases.jsonl"), "w") as f:
        for _ in range(60):
            ids = [rng.randrange(t.get_vocab_size() + 2) for _ in range(rng.randint(0, 12))]
            f.write(json.dumps(dict(ids=ids, decode=t.decode(ids, skip_special_tokens=False), decode_skip_special=t.decode(ids))) + "\n")

def main():
    global CORPUS
    test, tool = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rng = random.Random(seed)
    CORPUS = [text(rng, 30) for _ in range(300)]
    with tempfile.TemporaryDirectory() as top:
        for i in range(91):
            name, t = make(rng, i)
            d = os.path.join(top, f"{i:03}_{name}"); os.mkdir(d)
            cases(t, d, rng, [text(rng, 25) for _ in range(60)] + ["", " ", "a", "x" * 400, " " * 90, "ab" * 100])
        for i, digits in enumerate("0101"):
            d = os.path.join(top, f"trained_{i}")
            source = os.path.join(top, "text.txt")
            open(source, "w").write("\n".join(CORPUS))
            subprocess.run([tool, source, str(300 + 400 * i), digits, d], check=True)
            cases(Tokenizer.from_file(os.path.join(d, "tokenizer.json")), d, rng, [text(rng, 25) for _ in range(100)])
            os.remove(source)
        print(f"tokenizers {tokenizers.__version__}, seed {seed}", flush=True)
        result = subprocess.run([test], env={**os.environ, "RLHF_TOKENIZERS": top, "CK_FORK": "no"})
    sys.exit(result.returncode)

main()
