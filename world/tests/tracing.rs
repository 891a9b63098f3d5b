//! `tracing` with a subscriber: the stack of open spans, the default subscriber and the formatter's buffer are the thread's
//! own, so a goroutine's own, and none of them may be mixed up with another goroutine's.

use gort_world::crowd::{crowd, scaled, Watch};
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::{self, Subscriber};
use tracing::{Dispatch, Event, Span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Goroutines.
const CLIENTS: usize = 1_000;
/// Spans within each other.
const DEPTH: u64 = 6;

/// What a span or an event says of itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Said {
    owner: u64,
    depth: u64,
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "owner" => self.owner = value,
            "depth" => self.depth = value,
            _ => (),
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Compares each event with the spans that it is in.
#[derive(Default)]
struct Compare {
    events: AtomicUsize,
    open: AtomicUsize,
    wrong: AtomicUsize,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for &'static Compare {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut said = Said::default();
        attributes.record(&mut said);
        self.open.fetch_add(1, Relaxed);
        context.span(id).expect("it is new").extensions_mut().insert(said);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let spans = context.event_scope(event).into_iter().flatten();
        let seen: Vec<_> = spans.map(|span| *span.extensions().get::<Said>().expect("since it was made")).collect();
        let expected = (1..=said.depth).rev().map(|depth| Said { owner: said.owner, depth });
        self.events.fetch_add(1, Relaxed);
        if !seen.iter().copied().eq(expected) {
            self.wrong.fetch_add(1, Relaxed);
            eprintln!("{said:?} in {seen:?}");
        }
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// Spans within spans, and an event in each on the way there and back.
fn nest(owner: u64, depth: u64) -> usize {
    tracing::info!(owner, depth, "there");
    gort::thread::yield_now();
    let mut events = 1;
    if depth < DEPTH {
        events += tracing::info_span!("nest", owner, depth = depth + 1).in_scope(|| nest(owner, depth + 1));
    }
    tracing::info!(owner, depth, "back");
    events + 1
}

fn compare() -> &'static Compare {
    Box::leak(Box::default())
}

/// A subscriber that all goroutines have at a time.
#[test]
fn spans_of_a_thousand_goroutines() {
    let n = scaled(CLIENTS);
    let watch = Watch::start("tracing, spans");
    let compare = compare();
    let all = Dispatch::new(Registry::default().with(compare));
    let events: usize = crowd(n, |i| {
        let owner = i as u64 + 1;
        tracing::dispatcher::with_default(&all, || {
            let events = nest(owner, 0);
            // A span that is entered by one goroutine and left by another, here a child of this one's.
            let span = tracing::info_span!("lent", owner, depth = 1u64);
            let entered = span.clone();
            gort::thread::scope(|s| {
                s.spawn(|| tracing::dispatcher::with_default(&all, || entered.in_scope(|| nest(owner, 1))));
            });
            assert!(Span::current().is_none(), "it was another's to enter");
            let inside = span.in_scope(|| Span::current().id());
            assert_eq!(inside, span.id());
            events
        })
    })
    .into_iter()
    .sum();
    assert_eq!(events, n * 2 * (DEPTH as usize + 1));
    assert_eq!(compare.events.load(Relaxed), events + n * 2 * DEPTH as usize);
    assert_eq!((compare.wrong.load(Relaxed), compare.open.load(Relaxed)), (0, 0));
    watch.few();
}

/// Each goroutine has a default subscriber of its own, which gets all of its events and nobody else's.
#[test]
fn a_default_subscriber_each() {
    let watch = Watch::start("tracing, a subscriber each");
    crowd(scaled(CLIENTS), |i| {
        let own = compare();
        let guard = subscriber::set_default(Registry::default().with(own));
        let events = nest(i as u64 + 1, 0);
        // For a while, another one.
        let inner = compare();
        let inner_events = subscriber::with_default(Registry::default().with(inner), || nest(1, 0));
        assert_eq!(inner.events.load(Relaxed), inner_events);
        drop(guard);
        nest(1, 0);
        assert_eq!((own.events.load(Relaxed), own.wrong.load(Relaxed)), (events, 0));
    });
    watch.few();
}

/// Where the formatter writes to, a line at a time; lets others run before it takes it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        gort::thread::yield_now();
        self.0.lock().expect("nothing panics while it is locked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text that lets others run while the formatter has a part of the line in its buffer.
struct Slow(usize);

impl std::fmt::Display for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}", self.0)?;
        gort::thread::yield_now();
        write!(f, "-{}>", self.0)
    }
}

#[test]
fn lines_are_whole() {
    const EACH: usize = 20;
    let n = scaled(CLIENTS);
    let watch = Watch::start("tracing, formatted lines");
    let lines = Lines::default();
    let writer = lines.clone();
    let format = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
    let all = Dispatch::new(format.with_writer(move || writer.clone()).finish());
    crowd(n, |i| {
        tracing::dispatcher::with_default(&all, || {
            let _span = tracing::info_span!("line", i).entered();
            (0..EACH).for_each(|k| tracing::info!("{} {}", Slow(i), Slow(k)));
        });
    });
    let text = lines.0.lock().expect("nobody panicked").clone();
    let text = String::from_utf8(text).expect("text");
    let seen: Vec<Cell<usize>> = (0..n).map(|_| Cell::new(0)).collect();
    for line in text.lines() {
        let i: usize = line
            .split_once("line{i=")
            .and_then(|(_, rest)| rest.split_once('}'))
            .and_then(|(i, _)| i.parse().ok())
            .unwrap_or_else(|| panic!("{line}"));
        let k = seen[i].replace(seen[i].get() + 1);
        assert!(line.ends_with(&format!(": <{i}-{i}> <{k}-{k}>")), "{line}: the {k}th of {i}");
    }
    assert!(seen.iter().all(|count| count.get() == EACH));
    watch.few();
}
