"""Arithmetic and word problems of mini-v1, their answers computed from the numbers that were drawn."""

import random

from evaluation.mini_v1.items import LETTERS, Row, balanced_positions, distinct, listed, near_numbers, place


def arithmetic(spaced: bool) -> list[Row]:
    """The same sums for both files: four each of +, - and *, the last of each with three numbers."""
    rng = random.Random("mini-v1 simple_arithmetic")
    rows = []
    for i in range(12):
        sign, length = "+-*"[i % 3], 3 if i >= 9 else 2
        numbers = [rng.randint(2, 9 if sign == "*" else 40) for _ in range(length)]
        total = {"+": sum, "-": lambda n: n[0] - sum(n[1:]), "*": lambda n: n[0] * n[1] * (n[2] if len(n) > 2 else 1)}
        answer = str(total[sign](numbers))
        if spaced:
            rows.append({"context": f" {sign} ".join(map(str, numbers)) + " =", "continuation": " " + answer})
        else:
            rows.append({"context": sign.join(map(str, numbers)) + "=", "continuation": answer})
    return rows


def elementary_math_qa(rng: random.Random) -> list[Row]:
    golds = balanced_positions(rng, 12)

    def make(i: int) -> Row:
        a, b, c = rng.randint(5, 30), rng.randint(1, 5), rng.randint(2, 5)
        word, result = ("add", a + b) if i % 2 else ("take away", a - b)
        result, last = (result * c, f"multiply the result by {c}") if i % 3 else (result + c, f"add {c} to the result")
        options = place(str(result), near_numbers(rng, result), golds[i])
        query = f"Question: Start with {a}, {word} {b}, then {last}. What do you get?\n{listed(options)}\nAnswer: "
        return {"query": query, "choices": list(LETTERS), "gold": golds[i]}

    return distinct(12, make)


def math_qa(rng: random.Random) -> list[Row]:
    golds = balanced_positions(rng, 12)

    def make(i: int) -> Row:
        a, b, k, part = rng.randint(3, 9), rng.randint(10, 20), rng.randint(2, 5), rng.choice((10, 20, 50))
        text, result = (
            (f"a car travels at {10 * a} miles per hour for {k} hours . how many miles does it travel ?", 10 * a * k),
            (f"what is {part} percent of {10 * b} ?", part * b // 10),
            (f"what is the average of {b - k} , {b} and {b + k} ?", b),
            (f"a room is {b} m long and {a} m wide . what is its area in square m ?", a * b),
            (f"{a} workers finish a job in {k} days . how many days does 1 worker need ?", a * k),
            (f"a pen costs rs . {a} and a book costs rs . {b} . what do {k} pens and 1 book cost ?", a * k + b),
        )[i % 6]
        options = place(str(result), near_numbers(rng, result), golds[i])
        query = f"Question: {text}\n{listed(options)}\nAnswer: "
        return {"query": query, "choices": list(LETTERS), "gold": golds[i]}

    return distinct(12, make)


def svamp(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        small, big = rng.randint(2, 9), rng.randint(10, 30)
        text, sign, result = (
            (
                f"Nora picked {big} plums and Hal picked {small} plums. How many plums do they have together?",
                "+",
                big + small,
            ),
            (
                f"There were {big} birds in a tree and {small} of them flew away. How many birds stayed?",
                "-",
                big - small,
            ),
            (
                f"A shelf has {big} books. A new box holds {small} more books. How many books are there?",
                "+",
                big + small,
            ),
            (f"Each of {big} boats carries {small} people. How many people are on the boats?", "*", big * small),
            (f"Ivo has {big} coins and Lea has {small} coins. How many more coins does Ivo have?", "-", big - small),
            (f"A cook bakes {small} rolls every day. How many rolls does he bake in {big} days?", "*", small * big),
        )[i % 6]
        first, second = (small, big) if i % 6 == 5 else (big, small)
        return {"context": text, "chain_of_thought": f"( {first}.0 {sign} {second}.0 )", "answer": str(result)}

    return distinct(12, make)


def aqua(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        a, b, k = rng.randint(3, 9), rng.randint(10, 20), rng.randint(2, 4)
        text, thought, answer = (
            (
                f"A train goes {10 * b} km in {k} hours at a steady speed. How many km does it go in {2 * k} hours?",
                f"{2 * k} hours is 2 times {k} hours.\nThe train goes 2 * {10 * b} = {20 * b} km.",
                f"{20 * b}",
            ),
            (
                f"A coat costs ${10 * b}. The price is cut by 10%. What is the new price?",
                f"10% of {10 * b} is {b}.\nThe new price is {10 * b} - {b} = {9 * b} dollars.",
                f"${9 * b}",
            ),
            (
                f"The side of a square is {a} cm. What is its perimeter in cm?",
                f"A square has 4 equal sides.\nThe perimeter is 4 * {a} = {4 * a} cm.",
                f"{4 * a}",
            ),
            (
                f"For every red ball there are {k} blue balls. There are {a} red balls. How many blue balls are there?",
                f"Each red ball goes with {k} blue balls.\nThere are {a} * {k} = {a * k} blue balls.",
                f"{a * k}",
            ),
            (
                f"The sum of two numbers is {b + a}. One of them is {a}. What is the other number?",
                f"The other number is the sum less {a}.\n{b + a} - {a} = {b}.",
                f"{b}",
            ),
        )[i % 5]
        return {"context": text, "answer": answer, "chain_of_thought": thought}

    return distinct(10, make)


def agi_eval_sat_math(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        a, b, x, y = rng.randint(2, 6), rng.randint(1, 9), rng.randint(5, 9), rng.randint(1, 4)
        text, thought, result = (
            (
                f"If ${a} x+{b}={a * x + b}$, what is the value of $x$ ?",
                f"Subtracting {b} gives ${a} x={a * x}$. Dividing by {a} gives $x={x}$.",
                x,
            ),
            (
                f"If $x-{b}={x}$, what is the value of ${a} x$ ?",
                f"Adding {b} gives $x={x + b}$. So ${a} x={a * (x + b)}$.",
                a * (x + b),
            ),
            (
                f"If $f(x)={a} x+{b}$, what is the value of $f({x})$ ?",
                f"Putting {x} in place of $x$ gives ${a}({x})+{b}={a * x + b}$.",
                a * x + b,
            ),
            (
                f"If $x+y={x + y}$ and $x-y={x - y}$, what is the value of $x$ ?",
                f"Adding the equations gives $2 x={2 * x}$. So $x={x}$.",
                x,
            ),
            (
                f"A triangle has a base of {2 * a} and a height of {x}. What is its area?",
                f"The area is half of the base times the height. Half of {2 * a} is {a}, and ${a}({x})={a * x}$.",
                a * x,
            ),
        )[i % 5]
        return {"context": "Q: " + text, "answer": str(result), "chain_of_thought": thought}

    return distinct(10, make)
