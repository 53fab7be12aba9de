"""What labels are taken for."""

from loc2vec.predict.target import Target


def test_numbers_of_any_size_are_a_number() -> None:
    for values in ([1e308, 5e-324, 1.0], [1e308, -1e308, 0.5]):
        target, learned = Target.of("price", values)
        assert (target.kind, target.log) == ("number", False)
        assert learned.tolist() == values


def test_text_is_classes_in_order() -> None:
    target, learned = Target.of("kind", ["b", "a", "b"])
    assert (target.kind, target.classes, learned.tolist()) == ("classes", ("a", "b"), [1, 0, 1])
