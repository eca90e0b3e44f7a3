#!/usr/bin/env python3
"""Compares chat templates with transformers itself.

    chat_live.py RLHFCTL [SEED [COUNT]]

Renders the templates of chat_templates.py (published styles, written anew) over conversations, many small expressions and
statements, and COUNT generated templates, with transformers and with `rlhfctl tokenizer chat`, and compares the
texts. Where transformers fails, rlhfctl must fail too; what raise_exception() says must be the same. Skipped (77) where
$RLHF_PYTHON, or else python3, has no transformers and jinja2."""
import json, os, random, subprocess, sys, tempfile, warnings

try:
    import jinja2
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import chat_template_utils as hf
except ImportError:
    python = os.environ.pop("RLHF_PYTHON", None)
    if python:
        os.execv(python, [python] + sys.argv)
    print("skipped: this python3 has no transformers and jinja2; set RLHF_PYTHON to one that has")
    sys.exit(77)
from chat_templates import CONVERSATIONS, PUBLISHED, SMALL, TOOLS

warnings.simplefilter("ignore")
TOKENS = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
# The smallest tokenizer.json that loads; only texts are compared here.
TOKENIZER = dict(version="1.0", added_tokens=[], normalizer=None, pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False),
                 post_processor=None, decoder=dict(type="ByteLevel"), model=dict(type="BPE", vocab={"a": 0}, merges=[]))


def expected(template, request):
    """What transformers makes of it: {"text"}, {"raised"} or {"fails"}."""
    request = dict(request)
    messages = [{k: v for k, v in m.items() if v is not None} for m in request.pop("messages")]
    try:
        texts, spans = hf.render_jinja_template(conversations=[messages], tools=request.pop("tools", None),
                                                documents=request.pop("documents", None), chat_template=template,
                                                **{**TOKENS, **request})
        return {"text": texts[0]}
    except jinja2.exceptions.TemplateError as e:
        return {"raised": str(e)} if type(e) is jinja2.exceptions.TemplateError else {"fails": f"{type(e).__name__}: {e}"}
    except Exception as e:
        return {"fails": f"{type(e).__name__}: {e}"}


def got(rlhfctl, directory, cases):
    """What rlhfctl makes of (template, request) pairs: each template is one of many that the model has."""
    folder = os.path.join(directory, "additional_chat_templates")
    os.makedirs(folder, exist_ok=True)
    names, lines = {}, []
    for template, request in cases:
        if template not in names:
            names[template] = f"t{len(names)}"
            with open(os.path.join(folder, names[template] + ".jinja"), "w", newline="", encoding="utf-8") as f:
                f.write(template)
        lines.append(json.dumps(dict(request, chat_template=names[template])) + "\n")
    run = subprocess.run([rlhfctl, "tokenizer", "chat", "--model", directory], input="".join(lines), capture_output=True, text=True)
    out = [json.loads(line) for line in run.stdout.splitlines()]
    if len(out) != len(lines):
        raise SystemExit(f"{len(lines)} lines in, {len(out)} out, status {run.returncode}:\n{run.stderr[-2000:]}\n{cases[len(out)]}")
    return out


class Compare:
    def __init__(self, rlhfctl, directory):
        self.rlhfctl, self.directory, self.texts, self.errors, self.different = rlhfctl, directory, 0, 0, 0

    def __call__(self, name, cases):
        for i in range(0, len(cases), 60):
            self.some(name, cases[i:i + 60])

    def some(self, name, cases):
        for (template, request), out in zip(cases, got(self.rlhfctl, self.directory, cases)):
            want = expected(template, request)
            if "text" in want:
                same = out.get("text") == want["text"]
                self.texts += 1
            else:
                same = "error" in out and ("raised" not in want or want["raised"][:300] == out["error"][:300])
                self.errors += 1
            if not same:
                self.different += 1
                if self.different <= 40:
                    print(f"{name}: {template[:400]!r}\n  request  {json.dumps(request)[:200]}\n  expected {json.dumps(want)[:600]}\n"
                          f"  got      {json.dumps(out)[:600]}", flush=True)


# ---- generated templates ----------------------------------------------------------------------------------------

NAMES = ["a", "b", "n", "s", "messages", "m", "d", "x", "undefined_name"]
FILTERS = ["upper", "lower", "trim", "length", "string", "int", "float", "list", "first", "last", "tojson", "title", "capitalize", "reverse|list",
           "sort", "unique|list", "join('-')", "default('D')", "default('D', true)", "replace('a', 'xy')", "indent(2)", "abs", "round", "items|list",
           "map('string')|list", "select|list", "reject('string')|list", "tojson(indent=2)", "dictsort", "min", "max", "safe", "count"]
TESTS = ["defined", "none", "string", "number", "mapping", "iterable", "sequence", "boolean", "true", "even", "odd", "undefined", "integer", "eq 1", "in [1, 'a']"]
METHODS = [".strip()", ".upper()", ".split()", ".split('a')", ".items()|list", ".get('a')", "[0]", "[-1]", ".x", ".a", "['a']", ".startswith('a')", ".keys()|list"]
CONSTANTS = ["1", "0", "-3", "2.5", "1e20", "'text'", "\"it's\"", "'a b  c'", "true", "none", "[]", "[1, 'a', 2.0]", "{'a': 1, 'b': [2]}", "(1, 2)", "'abc'[1:]", "[1, 2, 3][::-1]", "'é\\n\\t😀'", "''", "range(3)", "[3, 1, 2]", "{}"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in", "**"]


def expression(rng, depth):
    r = rng.random()
    if depth == 0 or r < 0.25:
        return rng.choice(CONSTANTS if rng.random() < 0.6 else NAMES)
    sub = lambda: expression(rng, depth - 1)
    if r < 0.45: return f"({sub()} {rng.choice(OPERATORS)} {sub()})"
    if r < 0.62: return f"({sub()})|{rng.choice(FILTERS)}"
    if r < 0.75: return f"({sub()}){rng.choice(METHODS)}"
    if r < 0.78: return rng.choice(NAMES) + rng.choice(["[1:]", "[::-1]", "[:2]", "[-3:-1]"])
    if r < 0.85: return f"({sub()} is {rng.choice(['', 'not '])}{rng.choice(TESTS)})"
    if r < 0.92: return f"({sub()} if {sub()} else {sub()})"
    if r < 0.96: return f"[{sub()}, {sub()}]"
    return f"(not {sub()})"


def statements(rng, depth):
    parts = []
    for _ in range(rng.randint(1, 4)):
        r = rng.random()
        o, c = rng.choice(["{%", "{%-", "{%+", "{%"]), rng.choice(["%}", "-%}", "%}", "+%}"])
        body = lambda: statements(rng, depth - 1)
        if depth == 0 or r < 0.3:
            parts.append(rng.choice(["{{", "{{-"]) + " " + expression(rng, 2) + " " + rng.choice(["}}", "-}}"]))
        elif r < 0.45: parts.append(f"{o} if {expression(rng, 1)} {c}{body()}{o} else {c}{body()}{o} endif {c}")
        elif r < 0.6: parts.append(f"{o} for {rng.choice(['x', 'm', 'i'])} in {expression(rng, 1)} {c}{body()}{rng.choice(['{{ loop.index }}', '', '{{ loop.last }}'])}{o} endfor {c}")
        elif r < 0.75: parts.append(f"{o} set {rng.choice(['a', 'b', 'x'])} = {expression(rng, 2)} {c}")
        elif r < 0.82: parts.append(f"{o} set {rng.choice(['a', 'b'])} {c}{body()}{o} endset {c}")
        elif r < 0.88: parts.append("{# comment #}" if rng.random() < 0.5 else "{#- c -#}")
        elif r < 0.93: parts.append(f"{o} macro f(x, y=2) {c}{body()}{o} endmacro {c}{{{{ f({expression(rng, 1)}) }}}}")
        else: parts.append(f"{o} filter upper {c}{body()}{o} endfilter {c}")
        parts.append(rng.choice(["", "\n", "  \n  ", " text ", "\n\n", "\t", "é", "  "]))
    return "".join(parts)


def main():
    rlhfctl = os.path.abspath(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 400
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "tokenizer.json"), "w") as f:
            json.dump(dict(TOKENIZER, model=dict(type="BPE", vocab={chr(c): i for i, c in enumerate(byte_alphabet())}, merges=[])), f)
        with open(os.path.join(directory, "tokenizer_config.json"), "w") as f:
            json.dump(TOKENS, f)
        compare = Compare(rlhfctl, directory)
        requests = [dict(messages=m, add_generation_prompt=g, **extra) for m in CONVERSATIONS for g in (False, True)
                    for extra in ({}, {"tools": TOOLS})]
        for name, template in PUBLISHED.items():
            compare(name, [(template, request) for request in requests])
        print(f"published styles: {len(PUBLISHED)}, {compare.texts} texts and {compare.errors} refusals compared", flush=True)
        compare("small", [(template, dict(messages=CONVERSATIONS[2], tools=TOOLS)) for template in SMALL])
        variables = dict(messages=CONVERSATIONS[1], a="abc a", b=[1, "x", None, 2.5], n=3, s="  Some Text  ", d={"a": 1, "x": "y", "k": None}, m={"a": [1, 2]})
        compare("generated", [(statements(rng, 2), variables) for _ in range(count)])
        compare("generated", [("{{ " + expression(rng, 3) + " }}", variables) for _ in range(count)])
        print(f"jinja2 {jinja2.__version__}, seed {seed}: {compare.texts} texts and {compare.errors} refusals, {compare.different} differ")
    sys.exit(compare.different > 0)


def byte_alphabet():
    """The characters that stand for bytes in byte-level tokenizers."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    return printable + [0x100 + i for i in range(256 - len(printable))]


main()
