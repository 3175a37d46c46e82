"""The answer of `omnicdc log`: what changed, who changed it, and which generation published it."""

from omnicdc.answers.log.entries import Generation, LogAnswer, Publication, Transaction
from omnicdc.answers.log.following import Follower
from omnicdc.answers.log.question import Question, question
from omnicdc.answers.log.reading import read_log

__all__ = [
    "Follower",
    "Generation",
    "LogAnswer",
    "Publication",
    "Question",
    "Transaction",
    "question",
    "read_log",
]
