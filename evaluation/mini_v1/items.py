"""How a row of mini-v1 is put together: options in place, letters, no repeated question."""

import random
from collections.abc import Callable

Row = dict[str, object]
LETTERS = "ABCD"


def balanced_positions(rng: random.Random, num_items: int, num_choices: int = 4) -> list[int]:
    """Gold positions in random order, each used equally often (as nearly as the count allows)."""
    positions = [i % num_choices for i in range(num_items)]
    rng.shuffle(positions)
    return positions


def place(right: str, wrong: list[str], position: int) -> list[str]:
    """The options with the right one at `position`; ValueError if two are equal."""
    options = wrong[:position] + [right] + wrong[position:]
    if len(set(options)) != len(options):
        raise ValueError(f"place: options are not distinct: {options}; change the rule that made them")
    return options


def listed(options: list[str], mark: str = ".") -> str:
    return "\n".join(f"{letter}{mark} {option}" for letter, option in zip(LETTERS, options, strict=True))


def near_numbers(rng: random.Random, right: int) -> list[str]:
    """Three wrong whole numbers close to the right one, none negative."""
    pool = [right + d for d in (-10, -5, -3, -2, -1, 1, 2, 3, 5, 10) if right + d >= 0]
    return [str(n) for n in rng.sample(pool, 3)]


def distinct(count: int, make: Callable[[int], Row]) -> list[Row]:
    """`count` rows from `make(i)`, drawn again while the row's question (options apart) repeats an earlier one."""
    rows: list[Row] = []
    seen: set[str] = set()
    while len(rows) < count:
        row = make(len(rows))
        question = str(row.get("query", row.get("context"))).split("\nA. ")[0]
        if question not in seen:
            seen.add(question)
            rows.append(row)
    return rows
