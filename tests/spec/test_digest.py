"""Versions: what changes the digest of a pipeline, and what does not."""

import copy
import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfgcp.spec.digest import canonical_json, digest
from kfgcp.spec.load import load

FIXTURE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def leaves(value, place=()):
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield place


def put(value, place, new):
    changed = copy.deepcopy(value)
    parent = changed
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = new(parent[place[-1]])
    return changed


def shuffled(value, random):
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


def test_canonical_json_is_sorted_compact_and_has_no_needless_fractions():
    assert (
        canonical_json({"b": [1.0, 0.5, None], "a": "é", "c": {}})
        == '{"a":"é","b":[1,0.5,null],"c":{}}'
    )
    assert canonical_json(1e300) == "1e+300"
    with pytest.raises(ValueError):
        canonical_json([float("nan")])


def test_a_digest_says_how_it_was_made():
    assert (
        digest({"a": 1.0})
        == "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    )
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest({}))


@FIXTURE
@given(random=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(rich_documents, random):
    assert digest(shuffled(rich_documents[0], random)) == digest(rich_documents[0])


def test_style_format_and_comments_do_not_count(rich, write):
    flow = write("# a comment\n" + yaml.dump(rich, default_flow_style=True, width=20), "flow.yaml")
    as_json = write(json.dumps(rich, indent=3), "compact.json")
    block = write(yaml.dump(rich, sort_keys=False), "block.yml")
    assert {load(path).version for path in (flow, as_json, block)} == {digest(rich)}


def test_the_sdks_version_does_not_count(rich):
    text = json.dumps(rich)
    pins = set(re.findall(r"'kfp==[0-9.]+' '--no-deps'", text))
    assert len(pins) == 2  # the compiler's own, and the one inside the source of a component
    own = next(pin for pin in pins if "kfp==1.0'" not in pin)
    other = json.loads(text.replace(own, "'kfp==2.99.1' '--no-deps'"))
    other["sdkVersion"] = "kfp-2.99.1"
    assert other != rich
    assert digest(other) == digest(rich)


@pytest.mark.parametrize("pin", ["'kfp==2.10.0'", "'kfp==1.0' '--no-deps'"])
def test_a_kfp_version_that_the_user_wrote_counts(rich, pin):
    text = json.dumps(rich)
    assert pin in text
    assert digest(json.loads(text.replace(pin, pin.replace("kfp==", "kfp==9")))) != digest(rich)


def test_a_pin_in_an_ordinary_container_counts():
    def spec(version):
        command = ["sh", "-c", f"pip install 'kfp=={version}' '--no-deps'", "x"]
        return {
            "deploymentSpec": {
                "executors": {"e": {"container": {"image": "i", "command": command}}}
            }
        }

    assert digest(spec("1")) != digest(spec("2"))


def test_the_order_of_dependent_tasks_does_not_count_and_that_of_arguments_does(rich):
    tasks = rich["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    task_with_upstreams = next(
        task for task in tasks.values() if len(task.get("dependentTasks", ())) > 1
    )
    before = digest(rich)
    task_with_upstreams["dependentTasks"].reverse()
    assert digest(rich) == before
    rich["deploymentSpec"]["executors"]["exec-report"]["container"]["args"].reverse()
    assert digest(rich) != before


def test_empty_fields_that_mean_absent_do_not_count(rich):
    before = digest(rich)
    task = rich["root"]["dag"]["tasks"]["double-2"]
    task["dependentTasks"] = []
    task["inputs"]["artifacts"] = {}
    rich["components"]["comp-double"]["outputDefinitions"]["artifacts"] = {}
    rich["deploymentSpec"]["executors"]["exec-double"]["container"].update(env=[], resources={})
    tasks = rich["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["report"].pop("cachingOptions") == {}
    assert digest(rich) == before


@pytest.mark.parametrize("name", ["names", "options"])
def test_an_empty_default_counts(rich, name):
    before = digest(rich)
    assert not rich["root"]["inputDefinitions"]["parameters"][name].pop("defaultValue")
    assert digest(rich) != before


def test_an_empty_constant_counts(rich):
    before = digest(rich)
    rich["root"]["dag"]["tasks"]["double-2"]["inputs"]["parameters"]["x"] = {
        "runtimeValue": {"constant": {}}
    }
    other = digest(rich)
    rich["root"]["dag"]["tasks"]["double-2"]["inputs"]["parameters"]["x"] = {
        "runtimeValue": {"constant": []}
    }
    assert len({before, other, digest(rich)}) == 3


def test_every_other_leaf_counts(rich):
    before = digest(rich)
    for place in leaves(rich):
        if place == ("sdkVersion",):
            continue
        changed = put(rich, place, lambda old: f"{old}!" if isinstance(old, str) else [old, "!"])
        assert digest(changed) != before, place
