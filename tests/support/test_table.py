from alexnet_repro.support.table import Table


def test_a_table_is_text_and_markdown():
    table = Table(["a", "long header"], [["1", "2"], ["333", "4"]])
    assert repr(table) == "a    long header\n1    2\n333  4"
    assert table._repr_markdown_() == "| a | long header |\n| --- | --- |\n| 1 | 2 |\n| 333 | 4 |"


def test_an_empty_table_says_so():
    assert "none recorded yet" in repr(Table(["a", "b"], []))
