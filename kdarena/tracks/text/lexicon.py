"""Words of the ``grammar`` sentences: the open classes of each part, and the closed classes that all parts share.

No content word is in two parts. All of them inflect regularly, as stem and ending, without a doubled consonant; nouns
for persons are of no one gender, so that both ``himself`` and ``herself`` may follow.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lexicon:
    """The open classes of one part.

    Attributes:
        persons: nouns that walk and blame themselves.
        things: nouns that follow a preposition.
        intransitive, transitive: verbs.
        adjectives: of both kinds of nouns.
    """

    persons: tuple[str, ...]
    things: tuple[str, ...]
    intransitive: tuple[str, ...]
    transitive: tuple[str, ...]
    adjectives: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.persons, *self.things, *self.intransitive, *self.transitive, *self.adjectives)


def _lexicon(persons: str, things: str, intransitive: str, transitive: str, adjectives: str) -> Lexicon:
    return Lexicon(*(tuple(words.split()) for words in (persons, things, intransitive, transitive, adjectives)))


TRAIN = _lexicon(
    persons="""pilot doctor nurse farmer singer artist teacher lawyer driver baker dancer writer player tutor guard judge clerk rider miner poet
        scout boxer guest cousin friend visitor student captain senator author editor painter hunter keeper leader owner banker chef client
        coach expert giant human infant juror member model neighbor orphan parent partner patient person porter rebel ruler skater soldier
        speaker stranger surgeon tenant trader victim voter winner worker""",
    things="""lake river house table chair garden bridge tower road wall door window tree hill field car boat train bench church barn statue
        lamp desk shed gate pond cave cabin tent fence harbor hotel island ladder market mirror mountain oven palace picture pillar pipe
        plane prison rocket sofa stable station street temple theater tunnel van wagon well""",
    intransitive="""walk dance laugh smile work wait sneeze yawn jump shout cook rest cough wander whisper blink cheer climb crawl doze faint
        frown gasp giggle growl limp listen march mumble pause paint pray react relax roar sail scream shiver sigh snore stare stumble
        sweat tremble""",
    transitive="""admire like help blame praise trust watch avoid follow visit hate fear love greet mock amuse annoy adore advise alarm answer
        approach attack bore bother call charm confuse convince correct criticize defend describe detest disturb doubt embarrass encourage
        escort excuse harm ignore impress injure insult join kick kill""",
    adjectives="""old tall young small clever quiet brave proud calm rich poor kind loud strong gentle tired honest bold cruel famous fierce
        frail grim humble keen modest nervous noble odd pale plain polite rude""",
)
VALIDATION = _lexicon(
    persons="plumber gambler chemist mentor prophet ranger peasant pirate curator tourist hermit builder gardener merchant mayor boarder",
    things="mill canal cottage fountain tavern basket carpet museum kitchen orchard",
    intransitive="chuckle stroll cackle sprint wink shudder mutter drift whistle stagger",
    transitive="punish remember respect scare support tease thank warn welcome surprise",
    adjectives="short stern smart timid vain warm wise",
)
TEST = _lexicon(
    persons="""joker villager manager carpenter reporter researcher servant sheriff sponsor sculptor swimmer walker lecturer marine designer
        director drummer engineer fighter golfer jailer janitor librarian magician minister musician trainer ranter sender tailor""",
    things="castle forest corner valley desert tank clock stove ship meadow cart drawer lantern cellar platform tractor",
    intransitive="grumble hesitate moan parade perform smoke stutter talk vanish shriek recover sparkle",
    transitive="offend question recognize reject remind replace report scold startle tolerate touch trick",
    adjectives="rigid sad sane sober solemn stout strict tender thin weak wild",
)

PREPOSITIONS = ("near", "behind", "beside", "by")
DETERMINERS = (("this", "that"), ("these", "those"))
"""Singular, and plural."""
PRONOUNS = (("he", "she"), ("they",))
"""As subjects."""
REFLEXIVES = (("himself", "herself"), ("themselves",))
AUXILIARIES = (("is", "was"), ("are", "were"))
"""In front of an adjective: singular, and plural."""
HELPERS = ("has", "have")
"""In front of a past participle."""
ADVERBS = ("often", "never", "always")
CLOSED = (
    "the",
    "who",
    *ADVERBS,
    *PREPOSITIONS,
    *DETERMINERS[0],
    *DETERMINERS[1],
    *PRONOUNS[0],
    *PRONOUNS[1],
    *REFLEXIVES[0],
    *REFLEXIVES[1],
    *AUXILIARIES[0],
    *AUXILIARIES[1],
    *HELPERS,
)
"""Function words, each of which is a token."""
ENDINGS = ("+s", "+es", "+ed")
"""Each a token of its own, so that the number of an unknown word can be read."""
SIBILANTS = ("s", "x", "z", "ch", "sh")
"""After which the ending is ``es``."""
