"""Ordering puzzles, solved by trying all 24 orders, and sentences of two invented languages, for mini-v1."""

import itertools
import random
from collections.abc import Callable

from evaluation.mini_v1.items import LETTERS, Row, balanced_positions, distinct, listed, place

Order = tuple[str, ...]
ORDINALS = ("first", "second", "third", "last")

SCENES = (
    (
        "Four cats sit in a row: {0}, {1}, {2} and {3}.",
        "{}",
        "is to the left of {}",
        ("is the leftmost", "is second from the left", "is second from the right", "is the rightmost"),
        ("Moss", "Pip", "Rex", "Tib"),
    ),
    (
        "Four children ran a race: {0}, {1}, {2} and {3}.",
        "{}",
        "finished before {}",
        ("finished first", "finished second", "finished third", "finished last"),
        ("Ana", "Ben", "Cleo", "Dov"),
    ),
    (
        "A farm has four trees: an {0}, an {1}, a {2} and a {3}.",
        "The {}",
        "is taller than the {}",
        ("is the tallest", "is the second tallest", "is the second shortest", "is the shortest"),
        ("oak", "elm", "pine", "fig"),
    ),
)


def logical_deduction(rng: random.Random) -> list[Row]:
    golds = balanced_positions(rng, 12)

    def make(i: int) -> Row:
        scene, subject, relation, places, names = SCENES[i % 3]
        order = rng.sample(names, 4)
        every = set(itertools.permutations(names))
        known: list[tuple[str, set[Order]]] = []  # clue and the orders that it allows
        while len(every.intersection(*(allowed for _, allowed in known))) > 1:
            if rng.random() < 0.4:
                spot = rng.randrange(4)
                clue = f"{subject.format(order[spot])} {places[spot]}."
                allowed = {m for m in every if m[spot] == order[spot]}
            else:
                first, second = sorted(rng.sample(range(4), 2))
                clue = f"{subject.format(order[first])} {relation.format(order[second])}."
                allowed = {m for m in every if m.index(order[first]) < m.index(order[second])}
            known.append((clue, allowed))
        for entry in list(known):  # leave out what the others already say
            others = [k for k in known if k is not entry]
            if len(every.intersection(*(allowed for _, allowed in others))) == 1:
                known = others
        clues = [clue for clue, _ in known]
        # ask about a place that no clue names, so that no option merely repeats a clue
        free = [p for p in range(4) if not any(places[p] in clue for clue in clues)]
        asked = rng.choice(free)
        wrong = rng.sample([n for n in names if n != order[asked]], 3)
        options = [f"{subject.format(n)} {places[asked]}." for n in place(order[asked], wrong, golds[i])]
        query = (
            "The statements below describe four things in a fixed order.\n\n"
            f"{scene.format(*names)} {' '.join(clues)}\n"
            f"Which of these statements fits the situation above?\n\n{listed(options)}\nAnswer: "
        )
        return {"query": query, "choices": options, "gold": golds[i]}

    return distinct(12, make)


SPEAKERS = ("Kim", "Lou", "Max", "Nan")


def speaking_rule(rng: random.Random) -> tuple[str, Callable[[Order], bool]]:
    a, b = rng.sample(SPEAKERS, 2)
    spot = rng.randrange(4)
    return rng.choice(
        (
            (f"{a} speaks before {b}.", lambda m: m.index(a) < m.index(b)),
            (f"{a} speaks right after {b}.", lambda m: m.index(a) == m.index(b) + 1),
            (f"{a} does not speak {ORDINALS[spot]}.", lambda m: m[spot] != a),
        )
    )


def agi_eval_lsat_ar(rng: random.Random) -> list[Row]:
    """Half "could be the order" (one option keeps all rules), half "must be true" (one option holds in every order)."""
    golds = balanced_positions(rng, 12)
    every = list(itertools.permutations(SPEAKERS))
    facts = {f"{name} speaks {ORDINALS[k]}": (name, k) for name in SPEAKERS for k in range(4)}

    def make(i: int) -> Row:
        while True:
            rules = [speaking_rule(rng) for _ in range(3)]
            models = [m for m in every if all(holds(m) for _, holds in rules)]
            certain = [f for f, (name, k) in facts.items() if models and all(m[k] == name for m in models)]
            if len({text for text, _ in rules}) == 3 and 1 < len(models) < 5 and len(certain) == 1:
                break
        if i % 2:
            question = "Which one of the following must be true?"
            right, wrong = certain[0], rng.sample([f for f in facts if f != certain[0]], 3)
        else:
            question = "Which one of the following could be the order of the speakers, from first to last?"
            right = ", ".join(rng.choice(models))
            wrong = [", ".join(m) for m in rng.sample([m for m in every if m not in models], 3)]
        options = place(right, wrong, golds[i])
        query = (
            "Passage: Four friends, Kim, Lou, Max and Nan, speak one after another. "
            f"{' '.join(text for text, _ in rules)}\nQ: {question}\nChoices:\n{listed(options, '.)')}\nAnswer:"
        )
        return {"query": query, "choices": list(LETTERS), "gold": golds[i]}

    return distinct(12, make)


# Places of (adjective, noun, verb) in a sentence, and the words.
LANGUAGES = {
    "Velo": ((2, 1, 0), "big=mok old=sef dog=tama bird=liru girl=neva sings=ku sleeps=ra runs=pil"),
    "Tarin": ((1, 0, 2), "young=osk small=ibi fox=dunne boy=arlo hen=keth eats=zum waits=gre falls=vot"),
}


def readings(examples: list[tuple[str, ...]], word: str) -> set[str]:
    """English words that stand in exactly the examples in which `word` stands, i.e. what its translation can mean."""
    return {w for s in examples for w in s if all((w in e) == (word in e) for e in examples)}


def conlang_translation(rng: random.Random) -> list[Row]:
    def make(i: int) -> Row:
        language = list(LANGUAGES)[i % 2]
        order, words = LANGUAGES[language]
        lexicon = dict(pair.split("=") for pair in words.split())
        english = list(lexicon)
        triples = list(itertools.product(english[:2], english[2:5], english[5:]))
        while True:  # until the examples settle the meaning of every word of the question
            *examples, asked = rng.sample(triples, 5)
            settled = all(readings(examples, word) == {word} for word in asked)
            if settled and not any(all(word in e for e in examples) for word in asked):
                break

        def foreign(triple: tuple[str, ...]) -> str:
            words = [lexicon[triple[order.index(k)]] for k in range(3)]
            return " ".join(words).capitalize() + "."

        lines = [f"{language.upper()}: {foreign(t)}\nENGLISH TRANSLATION: The {' '.join(t)}.\n" for t in examples]
        name = language.upper()
        if i // 2 % 2:  # both directions are asked, as in the real file
            asked_for = f"English to {language}: \nENGLISH: The {' '.join(asked)}.\n{name} TRANSLATION:"
            answer = foreign(asked)
        else:
            asked_for = f"{language} to English: \n{name}: {foreign(asked)}\nENGLISH TRANSLATION:"
            answer = f"The {' '.join(asked)}."
        context = (
            f"The following are sentences in {language} and their English translations:\n\n{''.join(lines)}\n\n"
            f"Now, translate the following from {asked_for}"
        )
        return {"context": context, "continuation": answer}

    return distinct(10, make)
