"""Who answers a request: the union of backends and what they have in common.

A backend's spec is identity (which model, which recording); opening it gives an `Answerer` that holds files or connections.
To add one: a file here, its name in the union, a YAML in conf/generator.
"""

from __future__ import annotations

from typing import Annotated

from generators.backends.openai import OpenAI
from generators.backends.recorded import Recorded
from harness.kinds import BY_KIND

Backend = Annotated[Recorded | OpenAI, BY_KIND]
