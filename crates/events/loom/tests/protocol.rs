//! Every order of the steps of one or two writers and the reader; run with `--release`, or it takes long.

use koala_events_loom::{Log, RECORDS, Reader};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

/// Tries every order in which at most three switches happen where no thread has to wait.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn what_is_committed_is_read_whole_and_once() {
    model(|| {
        let log = Arc::new(Log::new(1));
        let writer = {
            let log = log.clone();
            thread::spawn(move || {
                let (chunk, place) = log.acquire(1).expect("room");
                log.append(chunk, place, 10, true);
                log.append(chunk, place + 1, 20, false);
                log.seal(chunk);
            })
        };
        let mut reader = Reader::new(&log);
        reader.poll(&log);
        reader.poll(&log);
        writer.join().unwrap();
        reader.poll(&log);
        assert_eq!(reader.delivered, [10, 20]);
        assert_eq!(log.used.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_chunk_that_is_freed_is_zeros_for_who_claims_it_next() {
    model(|| {
        let log = Arc::new(Log::new(1));
        let write = |process: u64, value: u64| {
            let log = log.clone();
            thread::spawn(move || match log.claim(process) {
                Some(chunk) => {
                    log.append(chunk, 0, value, false);
                    log.seal(chunk);
                    true
                }
                // No room: the event is lost, and counted.
                None => false,
            })
        };
        let writers = [write(1, 10), write(2, 20)];
        let mut reader = Reader::new(&log);
        reader.poll(&log);
        let written = writers.map(|writer| writer.join().unwrap());
        reader.poll(&log);
        reader.delivered.sort_unstable();
        let expected: Vec<u64> =
            [10, 20].into_iter().zip(written).filter_map(|(value, was)| was.then_some(value)).collect();
        assert_eq!(reader.delivered, expected);
        assert_eq!(log.used.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn the_chunk_of_a_thread_that_ends_is_gone_on_with_where_it_ended() {
    model(|| {
        let log = Arc::new(Log::new(2));
        let write = |value: u64| {
            let log = log.clone();
            thread::spawn(move || {
                let (chunk, place) = log.acquire(1).expect("room");
                assert!(place < RECORDS);
                log.append(chunk, place, value, false);
                log.end_thread(chunk, place + 1);
            })
        };
        let writers = [write(10), write(20)];
        let mut reader = Reader::new(&log);
        reader.poll(&log);
        for writer in writers {
            writer.join().unwrap();
        }
        reader.poll(&log);
        reader.delivered.sort_unstable();
        assert_eq!(reader.delivered, [10, 20]);
    });
}

#[test]
fn the_count_of_chunks_in_use_is_right_when_all_is_at_rest() {
    model(|| {
        let log = Arc::new(Log::new(2));
        let write = |process: u64| {
            let log = log.clone();
            thread::spawn(move || log.claim(process).map(|chunk| log.append(chunk, 0, process, false)))
        };
        let writers = [write(1), write(2)];
        let mut reader = Reader::new(&log);
        reader.poll(&log);
        for writer in writers {
            assert!(writer.join().unwrap().is_some());
        }
        assert!(log.used.load(Ordering::Relaxed) >= 2, "what was claimed is never taken off");
        reader.poll(&log);
        assert_eq!(log.used.load(Ordering::Relaxed), 2);
    });
}
