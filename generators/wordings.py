"""The words of the prompts, in the spirit of the paper's Tables 8 to 13; a `$name` is a slot.

A line of a prompt is a line here. A reworded text needs a new version of its template (`prompts.py`); golden tests hold all.
"""

# ruff: noqa: E501  (a line of a prompt is a line of the prompt)
from __future__ import annotations

from collections.abc import Mapping

_TASKS_TAIL = """
- The tasks are about texts in $language; name the tasks themselves in English.
- Spread them over many topics, professions and readers, including rare ones. This is batch $batch, so avoid the first ideas that come to mind.
- One sentence a task, starting with a verb or with "Given".

Answer with a JSON list of strings and nothing else: no numbering, no explanation."""

_BRAINSTORM_SHORT_LONG = """Think of about $num_tasks text retrieval tasks that are useful and unlike each other. In each, a short query is answered by a longer document.

Two tasks of the kind meant:
- Given a question about a medicine, retrieve a leaflet passage that answers it.
- Given a claim from a newspaper, retrieve a report that supports or refutes it.

Guidelines:
- Say what the query is and which document would satisfy it."""

_BRAINSTORM_LONG_SHORT = """Think of about $num_tasks text classification tasks that are useful and unlike each other. In each, a text is given one of a small set of labels.

Guidelines:
- Say what kind of text is read and what the labels tell apart: topic, intent, feeling, cause, register or anything else.
- Leave the labels themselves out."""

_BRAINSTORM_SHORT_SHORT = """Think of about $num_tasks text matching tasks in which both sides are short: a few words or one sentence.

Three tasks of the kind meant:
- Given the title of a book, retrieve the title of another on the same subject.
- Match a proverb with one from elsewhere that gives the same advice.
- Given an abbreviation used by sailors, retrieve what it stands for.

Guidelines:
- Neither plain paraphrase nor translation: those are asked for elsewhere."""

_BRAINSTORM_LONG_LONG = """Think of about $num_tasks text matching tasks in which both sides are long documents.

Two tasks of the kind meant:
- Given a court decision, retrieve another that turns on the same question.
- Given a travel report, retrieve one about the same region by somebody else.

Guidelines:
- Say what both documents are and what makes a pair belong together."""

_EXAMPLE_SHORT_LONG = """A retrieval task: $task

Write one example of it as a JSON object with these keys:
- "user_query": a string, what somebody looking for the document would type.
- "positive_document": a string, a document that answers the query.
- "hard_negative_document": a string, a document that looks relevant to the query but is clearly less useful for it than the first.

Guidelines:
- The query is of the $query_type kind, $query_length long and $clarity.
- Each document is about $num_words words long.
- No document repeats the query word for word, and neither refers to the query, to the task or to the other document.
- Both documents are original: do not copy from a source you know.
- The texts require $difficulty level education to be understood.
- All texts are in $language.

Answer with the JSON object and nothing else. Be creative."""

_EXAMPLE_LONG_SHORT = """A classification task: $task

Write one example of it as a JSON object with these keys:
- "input_text": a string, the text to be classified.
- "label": a string, the right label.
- "misleading_label": a string, another label of the same task that is wrong here though it could be mistaken for right.

Guidelines:
- The text is $num_words words long and varied in style.
- Neither label stands in the text, word for word.
- The text is $clarity.
- The text requires $difficulty level education to be understood.
- Text and labels are in $language.

Answer with the JSON object and nothing else. Be creative."""

_EXAMPLE_SHORT_SHORT = """A text matching task: $task

Write one example of it as a JSON object with these keys:
- "input": a string, the short text that is given.
- "positive_document": a string, a short text that belongs to it by the task.

Guidelines:
- Both are short, and they share few words, so that matching takes understanding.
- Both are in $language, and they do not mention each other or the task.

Answer with the JSON object and nothing else. Be creative."""

_EXAMPLE_LONG_LONG = """A text matching task: $task

Write one example of it as a JSON object with these keys:
- "input": a string, the long text that is given.
- "positive_document": a string, a long text that belongs to it by the task.

Guidelines:
- Each has at least 300 words, and they share few phrases.
- Both are in $language, and they do not mention each other or the task.

Answer with the JSON object and nothing else. Be creative."""

_EXAMPLE_STS = """Write three texts in $language, each a $unit, whose likeness in meaning is graded on the scale of semantic textual similarity: 1 unrelated, 5 the same meaning.

Answer with a JSON object with these keys:
- "S1": a string, the first text.
- "S2": a string, with a likeness of $high_score to S1.
- "S3": a string, with a likeness of $low_score to S1.

Guidelines:
- S1 and S2 differ in words and in structure although they mean much the same; S3 may share words with S1.
- All three are of about the same length and on a subject rarely used for this.
- The texts require $difficulty level education to be understood.
- Neither the grades nor the names S1, S2, S3 stand in the texts.

Answer with the JSON object and nothing else. Be creative."""

_EXAMPLE_BITEXT = """Write one example for finding translations between $src_lang and $tgt_lang, graded from 1, unrelated, to 5, the same meaning.

Answer with a JSON object with these keys:
- "S1": a string, a $unit in $src_lang.
- "S2": a string, a translation of S1 into $tgt_lang, with a likeness of $high_score.
- "S3": a string, a $unit in $tgt_lang with a likeness of only $low_score to S1.

Guidelines:
- S3 is on the subject of S1, and of about the length of S2.
- The texts require $difficulty level education to be understood.
- Neither the grades nor the names S1, S2, S3 stand in the texts.

Answer with the JSON object and nothing else. Be creative."""

GROUNDED = """A passage:

$passage

Write what somebody would type to find it, and a passage that would mislead the search, as a JSON object with these keys:
- "user_query": a string in $language, a query of the $query_type kind that the passage above answers.
- "hard_negative_document": a string in the language of the passage, on its subject and of its length, that does not answer the query.

Guidelines:
- The query is $query_length long and $clarity.
- The query does not repeat the passage word for word, and neither text refers to the passage or to this task.

Answer with the JSON object and nothing else."""

SAME_INTENT = """A query and the passage that answers it:

$given_query

$passage

Write the query as a speaker of $language would type it who wants the same thing, as a JSON object with this key:
- "user_query": a string in $language.

Guidelines:
- Keep the intent, not the words; names may be written as is usual in $language.
- The query does not refer to the passage or to this task.

Answer with the JSON object and nothing else."""

VARIED_SYSTEM = (
    "You write test data for search engines. You are precise about length and language, and you never repeat yourself."
)

BRAINSTORMS: Mapping[str, str] = {
    "short_long": _BRAINSTORM_SHORT_LONG + _TASKS_TAIL,
    "long_short": _BRAINSTORM_LONG_SHORT + _TASKS_TAIL,
    "short_short": _BRAINSTORM_SHORT_SHORT + _TASKS_TAIL,
    "long_long": _BRAINSTORM_LONG_LONG + _TASKS_TAIL,
}
"""The first conversation of each type that has one."""

EXAMPLES: Mapping[str, str] = {
    "short_long": _EXAMPLE_SHORT_LONG,
    "long_short": _EXAMPLE_LONG_SHORT,
    "short_short": _EXAMPLE_SHORT_SHORT,
    "long_long": _EXAMPLE_LONG_LONG,
    "sts": _EXAMPLE_STS,
    "bitext": _EXAMPLE_BITEXT,
}
"""The second conversation of each type."""
