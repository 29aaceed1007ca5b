"""What was typed in a form that nothing reads, told with the form that does: dashes, words apart, twice one key."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from experiments.errors import SettingsError
from experiments.overrides import parse, quoted
from experiments.synonyms import either, nearest, sentence_for, settings_meant

ACTIONS = ("train", "parity", "report", "doctor")  # as job.Action has them
NOT_SHORTENED = ("--experimental-rerun",)  # argparse takes --experiment for it


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The words of a command line.

    Attributes:
        groups: Group of conf/ -> the choices that there are.
        keys: Gives every key that a file of conf/ states; asked where a word turns on it, as those are many files.
        texts: Gives the keys that take any text; asked where a word turns on it.
    """

    groups: Mapping[str, Collection[str]]
    keys: Callable[[], Collection[str]]
    texts: Callable[[], Collection[str]]

    def has_setting(self, word: str) -> bool:
        """Whether it is a group or a key."""
        return word in self.groups or word in self.keys()

    def settings_meant(self, word: str) -> list[str]:
        """The settings that a word names, or may stand for."""
        return settings_meant(word, {*self.groups, *self.keys()})

    def choices(self, names: Collection[str]) -> list[str]:
        """The choices of these names, as they are typed: experiment=mnist_cnn."""
        groups = {"experiment": (), **self.groups, "action": ACTIONS}  # what is asked for most comes first
        return [f"{group}={name}" for name in names for group, choices in groups.items() if name in choices]

    def choices_meant(self, word: str) -> list[str]:
        """The choices that a word may stand for which names none, as they are typed."""
        return self.choices(nearest(word, {*ACTIONS, *(name for each in self.groups.values() for name in each)}))


def refuse_dashes(arguments: Sequence[str], *, options: Collection[str], vocabulary: Vocabulary) -> None:
    """Refuse a setting that was typed as an option is in other programs: --experiment=NAME, --lr 0.1.

    Args:
        arguments: As the shell gave them.
        options: Those that there are, with their dashes.
        vocabulary: The words that there are.

    Raises:
        SettingsError: With the form that works. Of other options argparse says what is wrong.
    """
    for place, word in enumerate(arguments):
        head, has_value, value = word.partition("=")
        if head == "--":
            return
        if not head.startswith("-") or head in options:
            continue
        name = head.lstrip("-")
        after = arguments[place + 1 : place + 2]
        if not has_value and after and not after[0].startswith("-") and "=" not in after[0]:
            word, value = f"{word} {after[0]}", after[0]
        if told := sentence_for(name):
            raise SettingsError(f"{word}: there is no such option; {told}")
        if not _is_option(head, options) and (meant := vocabulary.settings_meant(name)):
            fix = either([f"{key}={value or 'VALUE'}" for key in meant])
            raise SettingsError(f"{word}: a setting is typed as KEY=VALUE, without dashes: {fix}")


def _is_option(head: str, options: Collection[str]) -> bool:
    """Whether argparse takes it for an option: shortened, or a short one with its value."""
    shortened = any(option.startswith(head) for option in options if option not in NOT_SHORTENED)
    return shortened or (not head.startswith("--") and head[:2] in options)


def refuse_strays(words: Sequence[str], *, vocabulary: Vocabulary) -> None:
    """Refuse a word that is no KEY=VALUE; what the shell took apart is told as it must be typed to stay together.

    Raises:
        SettingsError: About the first.
    """
    first = next((place for place, word in enumerate(words) if "=" not in word and _is_stray(word)), None)
    if first is None:
        return
    end = next((place for place in range(first, len(words)) if not _is_stray(words[place])), len(words))
    strays, before = words[first:end], words[first - 1] if first else ""
    fault = _torn_value(before, strays, vocabulary) if "=" in before else ""
    raise SettingsError(fault or _torn_setting(strays, vocabulary) or _alone(strays[0], vocabulary))


def _is_stray(word: str) -> bool:
    return not word.startswith("~") and ("=" not in word or word.startswith("="))


def _torn_value(before: str, strays: Sequence[str], vocabulary: Vocabulary) -> str:
    """What is wrong where strays belong to the KEY=VALUE before them; empty where they do not."""
    head, _, value = before.partition("=")
    if not value:
        return f"{before} {strays[0]}: a setting and its value are one word: {before}{strays[0].lstrip('=')}"
    typed = " ".join([before, *strays])
    is_text = head.lstrip("+~") in vocabulary.texts() and not _is_known(strays, vocabulary)
    if is_text or (value.startswith(("[", "{")) and parse(before) is None and parse(typed) is not None):
        whole = f"{head}={quoted(typed.partition('=')[2])}" if is_text else typed
        return f"{typed}: what holds spaces is quoted for the shell: {shlex.quote(whole)}"
    joined, torn = before, [before]
    for stray in strays:
        if not joined.endswith(",") and not stray.startswith(","):
            break
        joined, torn = joined + stray, [*torn, stray]
    fix = _without_odd_commas(joined)
    return f"{' '.join(torn)}: a list is typed without spaces: {fix}" if len(torn) > 1 else ""


def _is_known(strays: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Whether strays say a setting or a choice, and no more."""
    says_setting = len(strays) == 2 and vocabulary.has_setting(strays[0])
    return says_setting or (len(strays) == 1 and bool(vocabulary.choices(strays)))


def _torn_setting(strays: Sequence[str], vocabulary: Vocabulary) -> str:
    """What is wrong where a key and its value are words of their own; empty where they are not."""
    torn = strays[:3] if strays[1:2] == ["="] else strays[:2]
    value = "".join(torn[1:]).lstrip("=")
    meant = vocabulary.settings_meant(strays[0]) if value else []
    fix = [f"{key}={value}" for key in meant]
    return f"{' '.join(torn)}: a setting and its value are one word, KEY=VALUE: {either(fix)}" if fix else ""


def _alone(word: str, vocabulary: Vocabulary) -> str:
    """What is wrong with a word that stands for itself."""
    if told := sentence_for(word):
        return f"{word!r} must be KEY=VALUE; {told}"
    settings = [f"{key}=VALUE" for key in vocabulary.settings_meant(word)]
    name = word.rpartition("/")[2].removesuffix(".yaml")  # of a file of conf/
    meant = vocabulary.choices([name]) or settings or vocabulary.choices_meant(word)
    guess = f"did you mean {either(meant[:4])}?" if meant else "--help names what can be typed"
    return f"{word!r} must be KEY=VALUE; {guess}"


def refuse_repeats(words: Sequence[str], *, one_value: Collection[str]) -> None:
    """Refuse words beside each other that give one key several values: what a shell makes of optimizer={sgd,adam}.

    Args:
        words: The overrides.
        one_value: Groups that take no list.

    Raises:
        SettingsError: With the list that was meant.
    """
    for key, beside in itertools.groupby(words, key=lambda word: word.partition("=")[0]):
        typed = list(dict.fromkeys(beside))
        if len(typed) < 2 or key.startswith("hydra"):
            continue
        values = [word.partition("=")[2] for word in typed]
        whole, settings = f"{key}={','.join(values)}", f"{key}={{{','.join(values)}}}"
        if all(":" in value for value in values) and parse(settings) is not None:
            fix = f"together they are {shlex.quote(settings)}"
        elif key.lstrip("+").partition(".")[0] in one_value:
            continue  # it takes no list: the last one counts, as in Hydra
        elif parse(whole) is not None:
            fix = f"a run of each is asked for by {shlex.quote(whole)}"
        else:
            fix = "leave the others out"
        shell = "braces without quotes are taken apart by the shell"
        raise SettingsError(f"{' '.join(typed)}: the last one alone would count, and {shell}; {fix}")


def refuse_commas(word: str) -> None:
    """Refuse a KEY=VALUE that only its commas keep from being read: optimizer=sgd,adam, with one at its end.

    Raises:
        SettingsError: With what is left without them.
    """
    fix = _without_odd_commas(word)
    if fix != word and not fix.endswith("=") and parse(fix) is not None:
        raise SettingsError(f"{word}: a comma stands between two values: {fix}")


def _without_odd_commas(word: str) -> str:
    head, _, value = word.partition("=")
    return f"{head}={','.join(part for part in value.split(',') if part.strip())}"
