//! What the scenario tests share. The tests themselves are in `tests/`.
