"""Brackets, strings, invented operators and copying: the string-rule items of mini-v1."""

import random
from collections.abc import Callable

from evaluation.mini_v1.items import Row, distinct

CLOSER = {"(": ")", "[": "]", "{": "}", "<": ">"}


def open_sequence(rng: random.Random, length: int) -> tuple[list[str], list[str]]:
    """A random run of brackets of the given length and what closes it."""
    symbols: list[str] = []
    pending: list[str] = []
    for _ in range(length):
        if pending and (len(pending) == 3 or rng.random() < 0.45):
            symbols.append(pending.pop())
        else:
            symbols.append(rng.choice("([{<"))
            pending.append(CLOSER[symbols[-1]])
    return symbols, pending[::-1]


def dyck_languages(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        symbols: list[str] = []
        closing: list[str] = []
        while not closing:
            symbols, closing = open_sequence(rng, rng.randint(4, 9))
        context = f"Close every bracket that is still open. \n\nInput: {' '.join(symbols)}\nOutput:"
        return {"context": context, "continuation": " ".join(closing)}

    return distinct(12, make)


def longest_common_subsequence(a: str, b: str) -> int:
    best = [0] * (len(b) + 1)
    for char in a:
        diagonal = 0
        for j, other in enumerate(b, start=1):
            diagonal, best[j] = best[j], diagonal + 1 if char == other else max(best[j], best[j - 1])
    return best[-1]


def cs_algorithms(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        if i % 2:
            a, b = ("".join(rng.choices("ABCDE", k=rng.randint(3, 6))) for _ in range(2))
            head = "How long is the longest common subsequence of these strings?"
            context = f"{head}\n\nStrings: {a} {b}\nLength of longest common subsequence:"
            return {"context": context, "continuation": str(longest_common_subsequence(a, b))}
        symbols, closing = open_sequence(rng, rng.randint(3, 6))
        symbols += closing
        if i % 4:  # swap one closer for another kind: never matched
            j = max(n for n, symbol in enumerate(symbols) if symbol in CLOSER.values())
            symbols[j] = rng.choice([c for c in CLOSER.values() if c != symbols[j]])
        context = f"Are the brackets of this sequence matched?\n\nSequence: {' '.join(symbols)}\nValid/Invalid?"
        return {"context": context, "continuation": "Invalid" if i % 4 else "Valid"}

    return distinct(12, make)


OPERATORS: tuple[tuple[str, str, Callable[..., int]], ...] = (
    ("i op j is i plus twice j.", "pair", lambda i, j: i + 2 * j),
    ("op i is ten more than i.", "one", lambda i: i + 10),
    ("op n1 n2 ... nn adds the first and the last listed number.", "list", lambda *n: n[0] + n[-1]),
    ("i op j is the smaller of i and j.", "pair", min),
    ("op i is the last digit of i.", "one", lambda i: i % 10),
    ("op n1 n2 ... nn counts the even numbers in the list.", "list", lambda *n: sum(k % 2 == 0 for k in n)),
    ("i op j is the product of i and j, plus one.", "pair", lambda i, j: i * j + 1),
    ("op i is i plus one when i is odd, and i minus one when i is even.", "one", lambda i: i + 1 if i % 2 else i - 1),
    ("op n1 n2 ... nn is the largest listed number minus the smallest.", "list", lambda *n: max(n) - min(n)),
    ("i op j is the larger of i and j minus the smaller.", "pair", lambda i, j: abs(i - j)),
    ("op i is the sum of the digits of i.", "one", lambda i: sum(map(int, str(i)))),
    ("op n1 n2 ... nn is the second listed number.", "list", lambda *n: n[1]),
)


def operators(rng: random.Random) -> list[Row]:
    rows = []
    for definition, shape, function in OPERATORS:
        span, count = {"one": (range(11, 60), 1), "pair": (range(2, 13), 2), "list": (range(2, 30), 4)}[shape]
        numbers = rng.sample(span, count)
        call = f"{numbers[0]} op {numbers[1]}" if shape == "pair" else "op " + " ".join(map(str, numbers))
        context = f"Use this definition of op to find the value.\n{definition}\n{call} ="
        rows.append({"context": context, "continuation": str(function(*numbers))})
    return rows


TIMES = {2: "two", 3: "three", 4: "four", 5: "five"}
WORDS = ("apple", "river", "green", "seven", "music", "garden", "window", "happy", "cloud", "bread", "silver", "table")


def repeat_copy_logic(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        a, b, c = rng.sample(WORDS, 3)
        n = rng.choice((2, 3, 4))
        text, words = (
            (f"say {a} {b} {TIMES[n]} times", [a, b] * n),
            (f"say {a} twice and {b} once, and then do all of this {TIMES[n]} times", [a, a, b] * n),
            (f"say {a} {TIMES[n]} times, and at the end say {b}", [a] * n + [b]),
            (f"say the words {a} {b} {c} in reverse order", [c, b, a]),
            (
                f"count from 1 to {n + 1}, and after each number say {a}",
                [w for k in range(n + 1) for w in (str(k + 1), a)],
            ),
        )[i % 5]
        return {"context": f"repeat with logic:\n\nQ: {text}\nA:", "continuation": " ".join(words)}

    return distinct(10, make)
