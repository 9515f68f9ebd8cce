"""Whatever is damaged in a record: it is as it was, or refused in a line that names the file; it is never left out."""

import hashlib
import json

import pytest
from damage import changed, many, places
from filed import save
from hypothesis import given
from hypothesis import strategies as st

from alexnet_repro.claims.records import load_evidence, problems
from alexnet_repro.claims.verdict import verdict
from alexnet_repro.support.values import write_sealed
from alexnet_repro.training.record import EvidenceError, Record

VALUES = st.sampled_from([None, True, -1, 0, 3, 1.5, "x", "", [], [1, "x"], {}, {"a": 1}, [[[]]], "0" * 64])


@pytest.fixture
def folder(make_record, tmp_path):
    for arm in ("relu", "tanh"):
        for seed in (0, 1):
            save(make_record(arm, seed, [0.6, 0.5], 1.5), tmp_path)
    return tmp_path


def looked_at(folder, tiny_claim) -> bool:
    """Whether all four records are used; else they are refused, by ``problems`` too where it is the record alone."""
    try:
        records = load_evidence(tiny_claim, "smoke", folder)
        records.runs(), records.epochs(), verdict(tiny_claim, records)
    except EvidenceError as error:
        said = str(error)
    else:
        assert len(records) == 4
        assert problems(folder) == []
        return True
    assert "relu-seed0.json" in said
    assert "\n" not in said
    return False


@many
@given(data=st.data())
def test_a_record_of_which_bytes_are_lost_or_changed_is_refused(folder, tiny_claim, data):
    path = folder / "tiny" / "smoke" / "relu-seed0.json"
    whole = path.read_bytes()
    content = bytearray(whole)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        if looked_at(folder, tiny_claim):
            assert json.loads(content) == json.loads(whole)
        else:
            assert len(problems(folder)) == 1
    finally:
        path.write_bytes(whole)


@many
@given(data=st.data())
def test_a_record_that_holds_something_else_is_used_or_refused(folder, tiny_claim, data):
    path = folder / "tiny" / "smoke" / "relu-seed0.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    del content["checksum"]
    place = data.draw(st.sampled_from(sorted(places(content), key=str)))
    write_sealed(path, changed(content, place, data.draw(VALUES), data.draw(st.booleans())))
    try:
        looked_at(folder, tiny_claim)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_json_does_not_know_is_refused(folder, tiny_claim, number):
    path = folder / "tiny" / "smoke" / "relu-seed0.json"
    text = path.read_text().replace("0.5", number)
    content = json.loads(text)
    kept = content.pop("checksum")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(text.replace(kept, hashlib.sha256(canonical.encode()).hexdigest()))
    with pytest.raises(EvidenceError, match=r"relu-seed0\.json is not a JSON object with a checksum \(Out of range"):
        Record.load(path)
    assert not looked_at(folder, tiny_claim)
