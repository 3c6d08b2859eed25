"""`deployments.wire.client.once`: a value is made once, until what it depends on is replaced."""

from deployments.wire.client.once import Once


def test_value_is_made_anew_when_what_it_depends_on_is_another_object() -> None:
    once, made = Once(), list[str]()

    def make(of: str) -> str | None:
        made.append(of)
        return None if of == "nothing" else of

    by, equal = [1], [1]
    assert [once.get(by, make, "a"), once.get(by, make, "b")] == ["a", "a"]
    assert [once.get(equal, make, "nothing"), once.get(equal, make, "c")] == [None, None], "none is a value too"
    assert once.get(None, make, "d") == "d", "and may be what it depends on"
    assert made == ["a", "nothing", "d"]
