//! The comparison that decides how blocks are made.

use std::process::Command;

use super::*;
use crate::identity::evidence::Evidence;
use crate::identity::recipe::{Recipe, Snapshot, Word};
use crate::identity::{choose, Choice, Error};

/// The block's words, with those that have a name of their own set aside.
fn words_of(block: &Block) -> Snapshot {
    let glibc = &state().glibc;
    let lo = block.lo as usize;
    // SAFETY: the block is complete and nobody runs on it.
    let mut words = unsafe { Snapshot::take(glibc, block.tp, lo, lo + Block::SIZE, 0) };
    words.erase_named(glibc);
    words
}

/// Offsets at which `ours` is not what the two donors' words mean.
fn differences(ours: &Block, donors: [&Block; 2]) -> Vec<isize> {
    let (ours, one, two) = (words_of(ours), words_of(donors[0]), words_of(donors[1]));
    let recipe = Recipe::learn(&ours, &one, &two);
    let differs = recipe.steps.iter().filter(|step| {
        let meant = match step.word {
            Word::Constant(value) => value,
            Word::SelfRelative(delta) => ours.tp.wrapping_add_signed(delta) as u64,
            Word::BlockStart => ours.lo as u64,
            Word::BlockSize => (ours.hi - ours.lo) as u64,
            Word::Zero => 0,
        };
        ours.word(step.offset) != meant
    });
    differs.map(|step| step.offset).chain(recipe.unknown).collect()
}

#[test]
fn a_built_block_is_a_donors_block() {
    let _loader = libraries::loader();
    // All donors' stacks have one size, so sizes compare as constants.
    let donors = [Block::new(Way::Donor), Block::new(Way::Donor)];
    let donors = [&donors[0], &donors[1]];
    assert_eq!(differences(&Block::new(Way::Built), donors), []);
    let raw = differences(&Block::new(Way::Raw), donors);
    assert!(raw.len() >= 10, "{raw:?}");
}

#[test]
fn named_words_are_what_they_should_be() {
    let glibc = &state().glibc;
    for way in [Way::Built, Way::Donor] {
        let (one, two) = (Block::new(way), Block::new(way));
        // SAFETY: named words of complete blocks that nobody runs on.
        unsafe {
            let tid = |block: &Block| (block.tp.wrapping_add_signed(glibc.tid) as *const u32).read();
            assert!(tid(&one) != tid(&two) && tid(&one) >= 1 << 22 && tid(&one) < 1 << 30);
            let [next, previous] = (one.tp.wrapping_add_signed(glibc.list) as *const [usize; 2]).read();
            let own = one.tp.wrapping_add_signed(glibc.list);
            assert_eq!((next == own, previous == own), (way == Way::Built, way == Way::Built));
            if let Some(rseq) = &glibc.rseq {
                let area = ((one.tp.wrapping_add_signed(rseq.start)) as *const [i32; 8]).read();
                assert_eq!(area, [0, -2, 0, 0, 0, 0, 0, 0]);
            }
        }
    }
}

#[test]
fn an_unknown_word_selects_donors() {
    let _loader = libraries::loader();
    let glibc = &state().glibc;
    let evidence = Evidence::collect(glibc).unwrap();
    let clean = evidence.clone().recipe(glibc).unwrap();
    assert_eq!(clean.unknown, []);
    assert_eq!(choose(Choice::Checked, &clean), Ok(Mode::Built));
    assert_eq!(choose(Choice::Built, &clean), Ok(Mode::Built));
    assert!(matches!(choose(Choice::Donor, &clean), Ok(Mode::Donor(_))));

    let mut strange = evidence.clone();
    // Somewhere in the thread control block.
    let offset = glibc.list + 1024;
    let at = glibc.layout.below.wrapping_add_signed(offset);
    strange.models[0].words[at / 8] = 0x1234;
    strange.models[1].words[at / 8] = 0x5678;
    let strange = strange.recipe(glibc).unwrap();
    assert_eq!(strange.unknown, [offset]);
    let Ok(Mode::Donor(why)) = choose(Choice::Checked, &strange) else { panic!("not donors") };
    assert!(why.contains(&format!("[{offset}]")), "{why}");
    assert_eq!(choose(Choice::Built, &strange), Err(Error::Refused(why)));
}

#[test]
fn a_misplaced_table_is_an_error() {
    let glibc = &state().glibc;
    let evidence = Evidence::collect(glibc).unwrap();
    for (tid, list) in [(glibc.tid + 4, glibc.list), (glibc.tid, glibc.list + 64)] {
        let wrong = crate::identity::Glibc { tid, list, ..glibc.clone() };
        let result = evidence.clone().recipe(&wrong);
        // The links' neighbours may hold anything; an unexplained word or an error are both refusals.
        assert!(result.map_or(true, |recipe| recipe.objection().is_some()));
    }
}

#[test]
fn misread_tables_of_keys_are_an_error() {
    let mut wrong = state().glibc.clone();
    wrong.keys.first_level += 8;
    wrong.keys.first_len -= 1;
    assert!(matches!(crate::identity::destructors::check(&wrong), Err(Error::Layout(_))));
}

/// Run by [`the_variable_chooses`] in a process of its own; elsewhere the outcome is the default one.
#[test]
fn report_choice() {
    let outcome = match crate::identity::init() {
        Ok(()) => format!("{:?}", crate::identity::mode()),
        Err(error) => error.to_string(),
    };
    println!("choice: {outcome}");
}

#[test]
fn the_variable_chooses() {
    for (value, expected) in [
        ("built", "choice: Built"),
        ("donor", "choice: Donor(\"GORT_IDENTITY says so\")"),
        ("both", "choice: GORT_IDENTITY is \"both\"; it may be \"built\" or \"donor\""),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "recipes::report_choice"])
            .env("GORT_IDENTITY", value)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(output.contains(expected), "{value}: {output}");
    }
}
