"""Where an encoder that refines stands in the graph."""

from pathlib import Path

from harness.runtime import Runtime
from tests.sweeps.test_plan import TRAINED, changed, planned

NEGATIVES = ["refine=negatives", "refine/model=tiny"]


def test_refining_stands_between_the_mix_and_fine_tuning(conf: Path, runtime: Runtime) -> None:
    plain, steps = planned(conf, runtime), planned(conf, runtime, NEGATIVES)

    assert sorted(changed(plain, steps)) == sorted(["refine", *TRAINED])
    assert steps["refine"].inputs == {"pairs": steps["mix"]}
    assert steps["finetune"].inputs["pairs"] is steps["refine"]


def test_it_refines_what_a_dropping_check_lets_through(conf: Path, runtime: Runtime) -> None:
    steps = planned(conf, runtime, [*NEGATIVES, "contamination=drop"])

    assert steps["refine"].inputs == {"pairs": steps["contamination/mix"]}


def test_the_encoder_that_refines_is_not_the_one_that_is_trained(conf: Path, runtime: Runtime) -> None:
    steps = planned(conf, runtime, NEGATIVES)
    trained_otherwise = planned(conf, runtime, [*NEGATIVES, "model/pooling=mean", "model.max_length=64"])
    refined_otherwise = planned(conf, runtime, [*NEGATIVES, "refine.model.max_length=64"])

    assert trained_otherwise["refine"].key == steps["refine"].key
    assert refined_otherwise["refine"].key != steps["refine"].key
    assert refined_otherwise["mix"].key == steps["mix"].key
