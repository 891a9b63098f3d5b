//! Stacks: those of the model's threads.

pub(crate) mod overflow {
    pub(crate) struct AltStack;

    impl AltStack {
        pub(crate) fn range(&self) -> (usize, usize) {
            (0, 0)
        }
    }

    pub(crate) fn thread_altstack() -> Result<AltStack, i32> {
        Ok(AltStack)
    }
}
