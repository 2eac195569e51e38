//! The log as its two ends use it: no interleaving of writers and reader, no signal handler in the middle of an
//! append, no death and no garbage yields a wrong event or a panic.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use koala_events::{
    Arena, ArenaConfig, EventKind, GivenUp, Notice, Overflow, Pending, Reader, Record, Source, ThreadState,
    Writer, flags,
};
use proptest::prelude::*;

/// Memory for an arena, which lives as long as the test.
fn arena(chunks: usize) -> Arena {
    let chunk_size = 4096;
    let size = 4096 + 320 * 1024 + 4096 + 8192 + chunks * chunk_size;
    let words: &'static mut [u64] = Box::leak(vec![0u64; size / 8].into_boxed_slice());
    let config = ArenaConfig { chunk_size: chunk_size as u32, ..ArenaConfig::default() };
    // SAFETY: zeros, aligned to 8, leaked, and used by nothing else.
    unsafe { Arena::format(words.as_mut_ptr().cast(), size, config) }.unwrap()
}

fn record(kind: EventKind, connection: u64) -> Record {
    Record { kind, source: Source::Libc, flags: 0, context: 0, connection, fd: 7, result: 0, time: 1 }
}

fn fill(pending: &Pending, payload: &[u8]) {
    assert!(pending.capacity() >= payload.len());
    // SAFETY: the record has room, and belongs to this test until it is committed.
    unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), pending.payload(), payload.len()) };
}

/// What a reader was told, in order.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Event { process: u64, tid: u32, connection: u64, unconfirmed: bool, payload: Vec<u8> },
    Parked { process: u64, tid: u32 },
}

fn poll(reader: &mut Reader, now: u64) -> Vec<Told> {
    let mut told = Vec::new();
    reader.poll(now, |notice| {
        told.push(match notice {
            Notice::Event(event) => Told::Event {
                process: event.process,
                tid: event.tid,
                connection: event.connection,
                unconfirmed: event.flags & flags::UNCONFIRMED != 0,
                payload: event.payload.to_vec(),
            },
            Notice::Parked { process, tid } => Told::Parked { process, tid },
        });
    });
    told
}

fn payloads(told: &[Told]) -> Vec<String> {
    told.iter()
        .filter_map(|told| match told {
            Told::Event { payload, .. } => Some(String::from_utf8_lossy(payload).into_owned()),
            Told::Parked { .. } => None,
        })
        .collect()
}

#[test]
fn an_event_arrives_as_it_was_written() {
    let arena = arena(4);
    let writer = Writer::new(arena, 42);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    assert!(writer.append(&thread, || 43, &Record { result: 5, ..record(EventKind::Receive, 9) }, b"hello"));
    let mut seen = 0;
    reader.poll(0, |notice| {
        if let Notice::Event(event) = notice {
            seen += 1;
            assert_eq!((event.kind, event.source, event.flags), (EventKind::Receive, Source::Libc, 0));
            assert_eq!((event.process, event.pid, event.tid), (writer.process(), 42, 43));
            assert_eq!((event.sequence, event.time, event.connection, event.fd), (0, 1, 9, 7));
            assert_eq!((event.result, event.payload), (5, &b"hello"[..]));
        }
    });
    assert_eq!(seen, 1);
    assert!(poll(&mut reader, 0).is_empty());
}

#[test]
fn a_call_under_way_holds_back_its_own_connection_only() {
    let arena = arena(4);
    let writer = Writer::new(arena, 1);
    let (sender, other) = (ThreadState::new(), ThreadState::new());
    let mut reader = Reader::new(arena);
    let mut send = writer.begin(&sender, || 1, &record(EventKind::Send, 5), 8).unwrap();
    fill(&send, b"question");
    send.intend(8);
    writer.append(&other, || 2, &record(EventKind::Receive, 5), b"answer");
    writer.append(&other, || 2, &record(EventKind::Receive, 6), b"elsewhere");
    assert_eq!(payloads(&poll(&mut reader, 0)), ["elsewhere"]);
    send.commit(8, 8);
    assert_eq!(payloads(&poll(&mut reader, 0)), ["question", "answer"]);
}

#[test]
fn a_short_send_tells_what_the_kernel_took() {
    let arena = arena(4);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    for (result, payload) in [(3, 3), (-32, 0)] {
        let mut send = writer.begin(&thread, || 1, &record(EventKind::Send, 5), 8).unwrap();
        fill(&send, b"question");
        send.intend(8);
        send.commit(result, payload);
    }
    let send = writer.begin(&thread, || 1, &record(EventKind::Send, 5), 8).unwrap();
    send.void();
    assert_eq!(payloads(&poll(&mut reader, 0)), ["que", ""]);
}

#[test]
fn the_dead_leave_what_they_were_about_to_send() {
    let arena = arena(2);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    writer.append(&thread, || 1, &record(EventKind::Receive, 5), b"request");
    let mut send = writer.begin(&thread, || 1, &record(EventKind::Send, 5), 8).unwrap();
    fill(&send, b"response");
    send.intend(8);
    let _torn = writer.begin(&thread, || 1, &record(EventKind::Receive, 5), 100).unwrap();
    assert_eq!(payloads(&poll(&mut reader, 0)), ["request"]);
    reader.process_ended(writer.process());
    let told = poll(&mut reader, 1);
    assert_eq!(payloads(&told), ["response"]);
    assert!(matches!(told[0], Told::Event { unconfirmed: true, .. }));
    assert_eq!(reader.unfinished(), 1);
    assert_eq!(reader.processes().count(), 0);
    // Its chunk is free again, and as good as new.
    let next = Writer::new(arena, 2);
    for _ in 0..100 {
        assert!(next.append(&ThreadState::new(), || 9, &record(EventKind::Send, 6), &[7; 20]));
        assert_eq!(poll(&mut reader, 2).len(), 1);
        reader.process_ended(next.process());
        next.forked(3, 0);
    }
}

#[test]
fn a_missing_event_is_waited_for_and_given_up() {
    let arena = arena(4);
    let writer = Writer::new(arena, 1);
    let (slow, fast) = (ThreadState::new(), ThreadState::new());
    let mut reader = Reader::new(arena);
    let torn = writer.begin(&slow, || 1, &record(EventKind::Receive, 5), 4).unwrap();
    writer.append(&fast, || 2, &record(EventKind::Receive, 6), b"later");
    assert!(poll(&mut reader, 1_000).is_empty());
    assert!(poll(&mut reader, 50_000_000).is_empty());
    fill(&torn, b"slow");
    torn.commit(4, 4);
    assert_eq!(payloads(&poll(&mut reader, 60_000_000)), ["slow", "later"]);

    let _torn = writer.begin(&slow, || 1, &record(EventKind::Receive, 5), 4).unwrap();
    writer.append(&fast, || 2, &record(EventKind::Receive, 6), b"after");
    assert!(poll(&mut reader, 100_000_000).is_empty());
    assert_eq!(payloads(&poll(&mut reader, 300_000_000)), ["after"]);
}

#[test]
fn what_a_signal_handler_jumped_out_of_is_given_up() {
    let arena = arena(2);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    let mut send = writer.begin(&thread, || 1, &record(EventKind::Send, 5), 4).unwrap();
    fill(&send, b"sent");
    send.intend(4);
    let torn = writer.begin(&thread, || 1, &record(EventKind::Receive, 6), 4).unwrap();
    writer.append(&thread, || 1, &record(EventKind::Close, 5), b"close");
    assert!(poll(&mut reader, 1).is_empty());
    assert_eq!(payloads(&poll(&mut reader, 3_000_000_000)), ["sent", "close"]);
    assert_eq!(reader.unfinished(), 1);
    // The chunk is not held back by either, and a late commit does no harm.
    while writer.append(&thread, || 1, &record(EventKind::Send, 7), &[1; 100]) {}
    poll(&mut reader, 3_000_000_001);
    let other = Writer::new(arena, 2);
    assert!(other.append(&ThreadState::new(), || 9, &record(EventKind::Send, 8), b"other"));
    send.commit(4, 4);
    torn.commit(4, 4);
    assert_eq!(payloads(&poll(&mut reader, 3_000_000_002)), ["other"]);
}

#[test]
fn parking_is_told_once_and_only_when_nothing_followed() {
    let arena = arena(4);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    writer.park(&thread);
    assert!(poll(&mut reader, 0).is_empty());
    writer.append(&thread, || 3, &record(EventKind::Receive, 5), b"a");
    writer.park(&thread);
    let process = writer.process();
    assert_eq!(poll(&mut reader, 0).last(), Some(&Told::Parked { process, tid: 3 }));
    writer.park(&thread);
    assert!(poll(&mut reader, 0).is_empty());
    writer.append(&thread, || 3, &record(EventKind::Receive, 5), b"b");
    assert_eq!(poll(&mut reader, 0).len(), 1);
    writer.park(&thread);
    assert_eq!(poll(&mut reader, 0), [Told::Parked { process, tid: 3 }]);
}

#[test]
fn a_forked_child_writes_to_chunks_of_its_own() {
    let arena = arena(4);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    writer.append(&thread, || 1, &record(EventKind::Send, 5), b"parent");
    // What fork does: the child has copies of both.
    let child = Writer::new(arena, 1);
    let parent = child.forked(2, 0);
    assert_ne!(child.process(), parent);
    child.append(&thread, || 2, &record(EventKind::Send, 5), b"child");
    writer.append(&ThreadState::new(), || 1, &record(EventKind::Send, 5), b"parent again");
    let told = poll(&mut reader, 0);
    let of = |id: u64| {
        let own: Vec<_> = told
            .iter()
            .filter_map(|told| match told {
                Told::Event { process, payload, .. } if *process == id => Some(payload.as_slice()),
                _ => None,
            })
            .collect();
        own
    };
    assert_eq!(of(writer.process()), [&b"parent"[..], b"parent again"]);
    assert_eq!(of(child.process()), [b"child"]);
}

#[test]
fn processes_are_told_in_order_of_time() {
    let arena = arena(4);
    let (first, second) = (Writer::new(arena, 1), Writer::new(arena, 2));
    let (one, two) = (ThreadState::new(), ThreadState::new());
    let at = |time| Record { time, ..record(EventKind::Receive, 5) };
    second.append(&two, || 2, &at(1), b"question");
    first.append(&one, || 1, &at(2), b"heard");
    first.append(&one, || 1, &at(4), b"answered");
    // The clock went back: the order within a process holds all the same.
    first.append(&one, || 1, &at(3), b"and more");
    second.append(&two, || 2, &at(5), b"answer");
    let mut reader = Reader::new(arena);
    let told = payloads(&poll(&mut reader, 0));
    assert_eq!(told, ["question", "heard", "answered", "and more", "answer"]);
}

#[test]
fn several_processes_are_followed_up_to_the_horizon() {
    let arena = arena(4);
    let (first, second) = (Writer::new(arena, 1), Writer::new(arena, 2));
    let (one, two) = (ThreadState::new(), ThreadState::new());
    let at = |time| Record { time, ..record(EventKind::Receive, 5) };
    let mut reader = Reader::new(arena);
    reader.look_no_further_than(10);
    first.append(&one, || 1, &at(20), b"alone");
    assert_eq!(payloads(&poll(&mut reader, 0)), ["alone"], "one process is followed as it goes");
    second.append(&two, || 2, &at(10), b"old");
    second.append(&two, || 2, &at(11), b"young");
    second.append(&two, || 2, &at(9), b"behind it");
    first.append(&one, || 1, &at(30), b"younger");
    assert_eq!(payloads(&poll(&mut reader, 0)), ["old"]);
    reader.look_no_further_than(11);
    assert_eq!(payloads(&poll(&mut reader, 1)), ["young", "behind it"]);
    // A clock that was turned back holds nothing for good, nor one event after the other.
    first.append(&one, || 1, &at(40), b"youngest");
    assert_eq!(payloads(&poll(&mut reader, 2)), [""; 0]);
    assert_eq!(payloads(&poll(&mut reader, 200_000_000)), ["younger", "youngest"]);
    first.append(&one, || 1, &at(12), b"last words");
    reader.process_ended(first.process());
    assert_eq!(payloads(&poll(&mut reader, 200_000_001)), ["last words"]);
}

#[test]
fn what_is_claimed_while_the_reader_is_at_work_counts_as_in_use() {
    let arena = arena(8);
    let writer = Writer::new(arena, 1);
    let threads: Vec<_> = (0..7).map(|_| ThreadState::new()).collect();
    let mut reader = Reader::new(arena);
    writer.append(&threads[0], || 1, &record(EventKind::Send, 1), b"one");
    // A reader that is slow, or stopped, while it delivers.
    reader.poll(0, |_| {
        for thread in &threads[1..] {
            writer.append(thread, || 2, &record(EventKind::Send, 1), b"more");
        }
    });
    assert!(arena.is_short(), "seven of eight are in use");
    for thread in &threads {
        writer.end_thread(thread);
    }
    reader.process_ended(writer.process());
    poll(&mut reader, 1);
    assert!(!arena.is_short());
    let next = Writer::new(arena, 2);
    next.append(&ThreadState::new(), || 1, &record(EventKind::Send, 1), b"one");
    poll(&mut reader, 2);
    assert!(!arena.is_short(), "nothing is counted twice, or taken off twice");
}

#[test]
fn a_process_that_is_dead_before_it_was_seen_leaves_nothing_for_later() {
    let arena = arena(4);
    let (living, dead) = (Writer::new(arena, 1), Writer::new(arena, 2));
    let (one, two) = (ThreadState::new(), ThreadState::new());
    let mut reader = Reader::new(arena);
    let at = |time| Record { time, ..record(EventKind::Send, 0) };
    reader.look_no_further_than(10);
    living.append(&one, || 1, &at(1), b"seen");
    assert_eq!(payloads(&poll(&mut reader, 0)), ["seen"]);
    dead.append(&two, || 2, &at(10), b"first");
    dead.append(&two, || 2, &at(11), b"last");
    reader.process_ended(dead.process());
    assert_eq!(payloads(&poll(&mut reader, 0)), ["first", "last"]);
    assert!(reader.processes().all(|info| info.process == living.process()));
    // One that never wrote anything is forgotten at once.
    reader.process_ended(99);
    poll(&mut reader, 0);
    assert!(reader.processes().all(|info| info.process == living.process()));
}

#[test]
fn what_others_did_waits_for_a_call_that_began_earlier() {
    let arena = arena(4);
    let (asking, serving) = (Writer::new(arena, 1), Writer::new(arena, 2));
    let (one, two) = (ThreadState::new(), ThreadState::new());
    let at = |kind, time| Record { time, ..record(kind, 0) };
    let mut reader = Reader::new(arena);
    let ask = |reader: &mut Reader, now| {
        let mut send = asking.begin(&one, || 1, &at(EventKind::Send, 10), 8).unwrap();
        fill(&send, b"question");
        send.intend(8);
        asking.append(&ThreadState::new(), || 3, &at(EventKind::Receive, 12), b"own");
        serving.append(&two, || 2, &at(EventKind::Receive, 9), b"before");
        serving.append(&two, || 2, &at(EventKind::Receive, 11), b"heard");
        assert_eq!(payloads(&poll(reader, now)), ["before", "own"]);
        send
    };
    let send = ask(&mut reader, 0);
    send.commit(8, 8);
    assert_eq!(payloads(&poll(&mut reader, 1)), ["question", "heard"]);
    // A call that takes long holds nobody up.
    let send = ask(&mut reader, 2);
    assert_eq!(payloads(&poll(&mut reader, 50_000_000)), ["heard"]);
    send.commit(8, 8);
    assert_eq!(payloads(&poll(&mut reader, 50_000_001)), ["question"]);
}

#[test]
fn what_does_not_fit_is_counted() {
    let arena = arena(1);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut written = 0;
    while writer.append(&thread, || 1, &record(EventKind::Send, 5), &[1; 200]) {
        written += 1;
    }
    assert!(written > 10);
    assert_eq!((arena.lost().events, arena.lost().bytes), (1, 200));
    let mut reader = Reader::new(arena);
    assert_eq!(poll(&mut reader, 0).len(), written);
    assert!(writer.append(&thread, || 1, &record(EventKind::Send, 5), &[1; 200]));
    arena.close();
    assert!(!writer.append(&thread, || 1, &record(EventKind::Send, 5), &[1; 200]));
}

#[test]
fn a_log_that_is_limited_takes_no_more() {
    let arena = arena(8);
    arena.limit(3 * 4096 - 1);
    // It is not extended again.
    arena.limit(5 * 4096);
    let writer = Writer::new(arena, 42);
    let threads: Vec<_> = (0..4).map(|_| ThreadState::new()).collect();
    let begun = |thread| writer.begin(thread, || 1, &record(EventKind::Send, 7), 4);
    assert!(!arena.is_short());
    for thread in &threads[..3] {
        begun(thread).expect("room").commit(0, 0);
    }
    assert!(arena.is_short() && begun(&threads[3]).is_none());
    assert_eq!(arena.lost().events, 1);
    arena.limit(0);
    assert!(begun(&threads[0]).is_some(), "a chunk that is in use stays so");
}

#[test]
fn threads_that_end_hand_on_their_chunks() {
    let arena = arena(3);
    let writer = Writer::new(arena, 1);
    let mut reader = Reader::new(arena);
    for tid in 1..2_000 {
        let thread = ThreadState::new();
        assert!(writer.append(&thread, || tid, &record(EventKind::Receive, 5), b"work"));
        writer.end_thread(&thread);
        if tid % 20 == 0 {
            poll(&mut reader, u64::from(tid));
        }
    }
    assert_eq!(arena.lost().events, 0);
}

#[test]
fn memory_beyond_what_is_kept_is_given_back() {
    let arena = arena(8);
    let writer = Writer::new(arena, 1);
    let thread = ThreadState::new();
    let mut reader = Reader::new(arena);
    let (give, given_back) = std::sync::mpsc::channel();
    reader.reclaim_with(2, move |chunk, size| {
        // SAFETY: the reader says that the chunk is nobody's.
        unsafe { std::ptr::write_bytes(chunk, 0, size) };
        give.send(size).unwrap();
        true
    });
    const SECOND: u64 = 1_000_000_000;
    let fill = |burst: u64| {
        let mut written = 0;
        while arena.lost().events == burst {
            written += usize::from(writer.append(&thread, || 1, &record(EventKind::Send, 5), &[1; 100]));
        }
        assert!(written > 100);
    };
    // Under a load that goes on, the memory stays.
    for burst in 0..3 {
        fill(burst);
        poll(&mut reader, (10 + burst) * SECOND / 2);
    }
    let given = || given_back.try_iter().collect::<Vec<usize>>();
    assert_eq!(given(), []);
    poll(&mut reader, 10 * SECOND);
    let first = given();
    assert!(first.len() >= 5 && first.iter().all(|&size| size == 4096), "{first:?}");
    poll(&mut reader, 20 * SECOND);
    assert_eq!(given(), [], "what was given back is not given back again");
    fill(3);
    poll(&mut reader, 30 * SECOND);
    poll(&mut reader, 40 * SECOND);
    assert_eq!(given().len(), first.len(), "and can be used again");
}

#[test]
fn many_threads_and_a_reader() {
    const THREADS: u32 = 4;
    const EVENTS: u32 = 20_000;
    let arena = arena(16);
    let writer = Writer::new(arena, 1);
    let done = AtomicBool::new(false);
    let mut next = BTreeMap::new();
    let mut total = 0;
    std::thread::scope(|scope| {
        let (writer, done) = (&writer, &done);
        let writers: Vec<_> = (1..=THREADS)
            .map(|tid| {
                scope.spawn(move || {
                    let thread = ThreadState::new();
                    for number in 0..EVENTS {
                        let payload = [number.to_le_bytes(), tid.to_le_bytes()].concat();
                        let record = record(EventKind::Send, u64::from(tid));
                        // A full log is the reader's to empty.
                        while !writer.append(&thread, || tid, &record, &payload) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut reader = Reader::new(arena);
        let start = std::time::Instant::now();
        loop {
            let finished = done.load(Ordering::Acquire);
            let mut last = None;
            let now = start.elapsed().as_nanos() as u64;
            let polled = reader.poll(now, |notice| {
                let Notice::Event(event) = notice else { return };
                assert!(last < Some(event.sequence), "events of a process come in order");
                last = Some(event.sequence);
                let number = u32::from_le_bytes(event.payload[..4].try_into().unwrap());
                assert_eq!(event.payload[4..], event.tid.to_le_bytes());
                let expected = next.entry(event.tid).or_insert(0);
                assert_eq!(number, *expected);
                *expected += 1;
                total += 1;
            });
            if finished && polled.events == 0 && polled.held == 0 {
                break;
            }
        }
    });
    assert_eq!(total, THREADS * EVENTS);
}

/// What one thread of the model does next.
#[derive(Clone, Debug)]
enum Step {
    /// Begins an append; while another is open on the thread, this is a signal handler.
    Begin {
        thread: usize,
        connection: u64,
        length: usize,
    },
    /// Says what the innermost open append is about to send.
    Intend {
        thread: usize,
    },
    /// Commits it.
    Commit {
        thread: usize,
    },
    /// Withdraws it.
    Void {
        thread: usize,
    },
    /// Jumps out of it: it will never be finished.
    Abandon {
        thread: usize,
    },
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let thread = 0..3usize;
    let step = prop_oneof![
        4 => (thread.clone(), 1..4u64, 0..300usize)
            .prop_map(|(thread, connection, length)| Step::Begin { thread, connection, length }),
        2 => thread.clone().prop_map(|thread| Step::Intend { thread }),
        4 => thread.clone().prop_map(|thread| Step::Commit { thread }),
        1 => thread.clone().prop_map(|thread| Step::Void { thread }),
        1 => thread.prop_map(|thread| Step::Abandon { thread }),
        2 => Just(Step::Poll),
    ];
    proptest::collection::vec(step, 0..200)
}

struct Open {
    pending: Pending,
    id: u32,
    length: usize,
    intended: bool,
}

/// The bytes of the model's append number `id`.
fn bytes(id: u32, length: usize) -> Vec<u8> {
    id.to_le_bytes().into_iter().chain(std::iter::repeat_n(id as u8, length)).collect()
}

proptest! {
    #[test]
    fn every_interleaving_tells_the_truth(steps in steps()) {
        let arena = arena(24);
        let writer = Writer::new(arena, 1);
        let threads = [ThreadState::new(), ThreadState::new(), ThreadState::new()];
        let mut open: [Vec<Open>; 3] = Default::default();
        let mut reader = Reader::new(arena);
        let mut told = Vec::new();
        let mut committed = BTreeMap::new();
        let mut intended = BTreeMap::new();
        let (mut id, mut torn) = (0, 0);
        for step in steps {
            match step {
                Step::Begin { thread, connection, length } => {
                    id += 1;
                    let payload = bytes(id, length);
                    let record = record(EventKind::Send, connection);
                    let pending = writer.begin(&threads[thread], || thread as u32, &record, payload.len());
                    let pending = pending.expect("the arena is large enough");
                    fill(&pending, &payload);
                    open[thread].push(Open { pending, id, length: payload.len(), intended: false });
                }
                Step::Intend { thread } => {
                    if let Some(open) = open[thread].last_mut() {
                        open.pending.intend(open.length);
                        open.intended = true;
                    }
                }
                Step::Commit { thread } => {
                    if let Some(open) = open[thread].pop() {
                        open.pending.commit(open.length as i64, open.length);
                        committed.insert(open.id, bytes(open.id, open.length - 4));
                    }
                }
                Step::Void { thread } => {
                    if let Some(open) = open[thread].pop() {
                        open.pending.void();
                    }
                }
                Step::Abandon { thread } => {
                    if let Some(open) = open[thread].pop() {
                        if open.intended {
                            intended.insert(open.id, bytes(open.id, open.length - 4));
                        } else {
                            torn += 1;
                        }
                    }
                }
                Step::Poll => told.extend(poll(&mut reader, 0)),
            }
        }
        // The process dies with whatever is open.
        for open in open.into_iter().flatten() {
            if open.intended {
                intended.insert(open.id, bytes(open.id, open.length - 4));
            } else {
                torn += 1;
            }
        }
        told.extend(poll(&mut reader, 0));
        reader.process_ended(writer.process());
        told.extend(poll(&mut reader, 1));
        prop_assert!(poll(&mut reader, 1 << 40).is_empty());
        prop_assert_eq!(reader.unfinished(), torn);
        let mut last_on = BTreeMap::new();
        for one in &told {
            let Told::Event { connection, unconfirmed, payload, .. } = one else { continue };
            let id = u32::from_le_bytes(payload[..4].try_into().unwrap());
            let expected = if *unconfirmed { intended.remove(&id) } else { committed.remove(&id) };
            prop_assert_eq!(expected.as_ref(), Some(payload), "told once, and as it was written");
            let last = last_on.insert(*connection, id);
            prop_assert!(last < Some(id), "in order on its connection");
        }
        prop_assert!(committed.is_empty() && intended.is_empty(), "nothing is missing");
        prop_assert_eq!(arena.lost().events, 0);
    }

    #[test]
    fn garbage_is_survived(garbage in proptest::collection::vec(any::<u8>(), 0..4032), real in 0..4usize) {
        let arena = arena(2);
        let writer = Writer::new(arena, 1);
        let thread = ThreadState::new();
        for _ in 0..real {
            writer.append(&thread, || 1, &record(EventKind::Send, 1), b"real");
        }
        let pending = writer.begin(&thread, || 1, &record(EventKind::Send, 1), 1500).unwrap();
        // Over the record's own head and beyond its end: what a program that writes where it must not does.
        let room = 4096 - 64 - real * 72;
        let garbage = &garbage[..garbage.len().min(room)];
        // SAFETY: the bytes lie within the chunk, which nobody reads at the moment.
        unsafe {
            let head = pending.payload().sub(64);
            std::ptr::copy_nonoverlapping(garbage.as_ptr(), head, garbage.len());
        }
        let mut reader = Reader::new(arena);
        for now in [0, 1, 1 << 40] {
            poll(&mut reader, now);
        }
        reader.process_ended(writer.process());
        poll(&mut reader, 1 << 41);
    }

    #[test]
    fn a_region_of_garbage_is_no_arena(garbage in proptest::collection::vec(any::<u64>(), 512..1024)) {
        let mut garbage = garbage;
        let size = garbage.len() * 8;
        // SAFETY: the region is large enough and nobody else has it.
        let arena = unsafe { Arena::open(garbage.as_mut_ptr().cast(), size) };
        prop_assert!(arena.is_err());
        garbage[0] = u64::from_le_bytes(*b"KOALALOG");
        garbage[1] = 1 | (1 << 32);
        // SAFETY: as above.
        let arena = unsafe { Arena::open(garbage.as_mut_ptr().cast(), size) };
        prop_assert!(arena.is_err());
    }
}

#[test]
fn sessions_are_admitted_while_there_is_room_and_as_the_sample_says() {
    let arena = arena(8);
    let writer = Writer::new(arena, 1);
    let mut reader = Reader::new(arena);
    assert!(arena.admit() && !arena.is_short());
    // Seven of eight chunks: what is left is for those who were admitted.
    let threads: Vec<ThreadState> = (0..7).map(|_| ThreadState::new()).collect();
    for thread in &threads {
        assert!(writer.append(thread, || 1, &record(EventKind::Send, 5), b"x"));
    }
    assert!(arena.is_short());
    assert!(!arena.admit() && !arena.admit());
    assert!(writer.append(&ThreadState::new(), || 1, &record(EventKind::Send, 5), b"x"), "there is room");
    arena.set_admission(Overflow::Block, 1.0);
    assert!(arena.blocks() && arena.admit(), "who waits for room is admitted");
    arena.set_admission(Overflow::Drop, 1.0);
    reader.process_ended(writer.process());
    poll(&mut reader, 0);
    reader.process_ended(writer.process());
    poll(&mut reader, 1);
    assert!(!arena.is_short() && arena.admit(), "the reader has made room");
    assert_eq!(arena.given_up(), GivenUp { not_admitted: 2, not_sampled: 0 });

    for (sample, expected) in
        [(0.0, 0..=0), (0.01, 8..=12), (0.25, 240..=260), (0.5, 490..=510), (1.0, 1000..=1000)]
    {
        arena.set_admission(Overflow::Drop, sample);
        let admitted = (0..1000).filter(|_| arena.admit()).count();
        assert!(expected.contains(&admitted), "{admitted} of 1000 at {sample}");
    }
    assert_eq!(arena.given_up().not_admitted, 2);
}

proptest! {
    /// A reader that dies at any moment, and the next one: every event is delivered once. What the dead one had
    /// delivered and not marked, the next one is told.
    #[test]
    fn a_reader_that_goes_on_delivers_the_rest(
        steps in proptest::collection::vec((0usize..3, 0usize..4), 1..200),
        unmarked in any::<bool>(),
    ) {
        let arena = arena(16);
        let writers = [Writer::new(arena, 1), Writer::new(arena, 2)];
        let threads = [ThreadState::new(), ThreadState::new(), ThreadState::new()];
        let mut reader = Reader::new(arena);
        let mut told: Vec<(u64, u64)> = Vec::new();
        let mut written = 0;
        for (now, (thread, what)) in steps.iter().copied().enumerate() {
            let writer = &writers[thread % 2];
            match what {
                0 | 1 => written += usize::from(writer.append(
                    &threads[thread], || thread as u32, &record(EventKind::Send, 5), &[7; 300],
                )),
                2 => {
                    reader.poll(now as u64, |notice| if let Notice::Event(event) = notice {
                        told.push((event.process, event.sequence));
                    });
                }
                _ => {
                    // It dies; sometimes in the middle of a turn, with an event delivered and not marked.
                    let mut known = std::collections::BTreeSet::new();
                    if unmarked {
                        let before = arena;
                        let mut dying = Reader::resume(before, told.iter().copied().collect());
                        let stop = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            dying.poll(now as u64, |notice| if let Notice::Event(event) = notice {
                                told.push((event.process, event.sequence));
                                std::panic::resume_unwind(Box::new(()));
                            });
                        }));
                        let _ = stop;
                        known = told.iter().copied().collect();
                    }
                    reader = Reader::resume(arena, known);
                }
            }
        }
        for writer in &writers {
            reader.process_ended(writer.process());
        }
        for later in 1..5 {
            for writer in &writers {
                reader.process_ended(writer.process());
            }
            reader.poll(later * 1_000_000_000, |notice| if let Notice::Event(event) = notice {
                told.push((event.process, event.sequence));
            });
        }
        let delivered = told.len();
        told.sort_unstable();
        told.dedup();
        prop_assert_eq!(told.len(), delivered, "none twice");
        prop_assert_eq!(delivered, written, "none lost");
    }
}
