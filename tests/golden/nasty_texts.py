"""200,000 texts that tokenizers get wrong: the same ones on every machine and in every version of Python.

Used by make_tokenizers.py, which hashes what the `tokenizers` library makes of them, and by tests/process/tokenizers.sh, which hashes what
we make of them.
"""

COUNT = 200_000
CHUNK = 10_000  # texts that share a hash

SPECIALS = (
    "<s> </s> <unk> <pad> <bos> <eos> <mask> [INST] [/INST] <|begin_of_text|> <|end_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> "
    "<|im_start|> <|im_end|> <|endoftext|> <|endofprompt|> <|startoftext|> <|return|> <|channel|> <|message|> <|start|> <|end|> <|call|> "
    "<tool_call> </tool_call> <think> </think> <start_of_turn> <end_of_turn> <start_of_image> <unused7> <table> </table> [multimodal] "
    "<|fim_prefix|> <|reserved_special_token_7|> <\uff5cbegin\u2581of\u2581sentence\uff5c> <\uff5cUser\uff5c> <\uff5cAssistant\uff5c> "
    "<\uff5cfim\u2581hole\uff5c> <\uff5ctool\u2581calls\u2581begin\uff5c> <|EOT|> <0x0A> <0x41> <0xE2>"
).split(" ")
WORDS = (
    "the The THE girl don't DON'T we'll it's I'm you've he'd she's camelCase snake_case HTTPServer iPhone a I x na\u00efve caf\u00e9 cafe\u0301 Stra\u00dfe "
    "\u017ft '\u017f '\u212a 's 'S 'll 'LL 're 'VE ''s \u2019s \u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u041c\u0418\u0420 \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 "
    "\u4f60\u597d \u4e16\u754c \u65e5\u672c\u8a9e \u30c6\u30b9\u30c8 \u3072\u3089\u304c\u306a \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05b4\u05d1\u05b0\u05e8\u05b4\u05d9\u05ea \u202bRTL\u202c "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0b9a\u0bbf \u1780\u17d2\u1798 \U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea "
    "\U0001f44d\U0001f3fd \u2764\ufe0f 1\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e007f \u2581 \u2581\u2581 \u0120the \u010a \u00bd \u00b2 \u2167 \u0663\u0664 \uff11\uff12 \U0001d7d9 "
    "3.14159 1,000,000 007 12345678 0x1F 1e-9 -42 50% $9.99 !!! ... --- ?! () [] {} \"q\" \u201cq\u201d \u2014 \u2026 \u00b7 // /* */ -> => == != && || :: ++ "
    "def return if(x): int main(void) </div> <p> &amp; https://e.org/a?b=c#d me@x.org C:\\dir \\n \\t #! @ ^ ~ ` \u0000 \u0001 \u007f \u0085 \u00a0 \u00ad "
    "\u1680 \u180e \u200b \u200c \u200d \u200e \u2028 \u2029 \u2060 \u3000 \ufeff \ufffd \uffff \U0010ffff"
).split(" ")
SPACES = ["", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2003", "\u180e", "\u0085", "\u2028"]
MARKS = (
    [0x300, 0x301, 0x308, 0x323, 0x327, 0x328, 0x338, 0x345, 0x34F, 0x591, 0x5B0, 0x64B, 0x653, 0x93C, 0x94D, 0x9BC, 0xB3C, 0xDCA, 0xE38]
    + [0xF71, 0x1037, 0x1161, 0x11A8, 0x1DC0, 0x20D0, 0x302A, 0x3099, 0x309A, 0xFB1E, 0x110BA, 0x1D165, 0x1E8D0, 0x1E947, 0x8CA, 0x1ABF]
)
BASES = [0x41, 0x61, 0x65, 0x6F, 0xC5, 0xE7, 0x1EA1, 0x3B1, 0x415, 0x5D0, 0x627, 0x915, 0x928, 0x1100, 0xAC00, 0x304B, 0x30CF, 0x212B, 0x2126, 0xFB01, 0xF900]
CODE = ["    ", "        ", "\t", "\t\t", "if (a[i] < b->c) {\n", "}\n", "return x;\n", "# comment\n", "for i in range(10):\n", "print(f\"{x!r:>8}\")\n"]
CODE += ["std::vector<int> v;\n", "SELECT * FROM t WHERE a='b';\n", "\\frac{a}{b}$$\n", "<a href=\"#\">x</a>\n", "{\"k\": [1, 2.5e-3, null]}\n", "\n", "\n\n\n"]


class Numbers:
    """A linear congruential generator (Knuth's MMIX)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        return (self.state >> 33) % n

    def choice(self, items):
        return items[self.below(len(items))]


def each_code_point():
    """All of the first planes but surrogates, four a text, in surroundings that take turns."""
    points = [p for p in range(0x32400) if not 0xD800 <= p <= 0xDFFF] + list(range(0xE0000, 0xE01F0))
    forms = ["%s%s%s%s", "a%sb%s %s1%s", " %s %s  %s\n%s", "%s\u0301%s!%s'%s", "X%s%sx%s.%s"]
    for at in range(0, len(points), 4):
        four = [chr(p) for p in points[at : at + 4]]
        yield forms[at // 4 % len(forms)] % tuple(four + [""] * (4 - len(four)))


def mixed(numbers):
    words = WORDS + SPECIALS
    return "".join(numbers.choice(SPACES) + numbers.choice(words) for _ in range(1 + numbers.below(12)))


def composed(numbers):
    text = ""
    for _ in range(1 + numbers.below(4)):
        text += chr(numbers.choice(BASES)) + "".join(chr(numbers.choice(MARKS)) for _ in range(numbers.below(5)))
    return text


def scattered(numbers):
    spans = [(0, 0x80), (0x80, 0x780), (0x800, 0xD000), (0xE000, 0x2000), (0x10000, 0x10000), (0x1F000, 0x1000), (0x20000, 0x12000), (0x100000, 0xFFFE)]
    starts = [numbers.choice(spans) for _ in range(1 + numbers.below(9))]
    return "".join(chr(first + numbers.below(count)) for first, count in starts)


def digits(numbers):
    return numbers.choice(SPACES).join("".join(chr(numbers.choice([0x30, 0x30, 0x30, 0x660, 0xFF10, 0xB0]) + numbers.below(10)) for _ in range(1 + numbers.below(9))) + numbers.choice(["", ".", ",", "th", "\u00bd", "e"]) for _ in range(1 + numbers.below(4)))


def special(numbers):
    around = SPACES + ["a", "Z", "1", ".", "<", ">", "|", "\u00e9", "\u4e2d", "\U0001f600"]
    text = ""
    for _ in range(1 + numbers.below(3)):
        token = numbers.choice(SPECIALS)
        cut = numbers.below(8)
        token = token[:-1] if cut == 0 else token[1:] if cut == 1 else token.upper() if cut == 2 else token
        text += numbers.choice(around) + token + numbers.choice(around)
    return text


def white(numbers):
    return "".join(numbers.choice(SPACES[1:]) * (1 + numbers.below(40)) + numbers.choice(["", "x", "word", "\n"]) for _ in range(1 + numbers.below(4)))


def code(numbers):
    return "".join(numbers.choice(CODE) for _ in range(1 + numbers.below(20)))


def long(numbers):
    return "".join(mixed(numbers) + " " for _ in range(100)) + numbers.choice("a \n\u4e2d\u0301=") * 2000


def texts():
    """Yields the texts in order."""
    done = 0
    for text in each_code_point():
        yield text
        done += 1
    numbers = Numbers(7)
    turns = [mixed] * 9 + [composed] * 4 + [scattered] * 3 + [digits] * 3 + [special] * 5 + [white] * 2 + [code] * 2
    for at in range(done, COUNT):
        yield (long if at % 4000 == 0 else turns[at % len(turns)])(numbers)
