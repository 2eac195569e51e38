//! What the kernel counts, against what was recorded.

use super::*;

fn totals(sent: usize, received: usize) -> Vec<u8> {
    [sent, received].map(|count| (count as u64).to_le_bytes()).concat()
}

fn gaps(session: &Session) -> Vec<bool> {
    session.connections.iter().map(|connection| connection.gap).collect()
}

#[test]
fn equal_counts_are_no_gap() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).talk(2, PING, PONG);
    program.event(EventKind::Close, 2, 0, &totals(PING.len(), PONG.len()));
    program.send(1, OK).event(EventKind::Close, 1, 0, &totals(OK.len(), GET.len()));
    let session = program.one();
    assert_eq!((session.incomplete, gaps(&session)), (false, vec![false, false]));
    assert_eq!(program.assembler.gaps(), 0);
}

#[test]
fn bytes_that_only_the_kernel_counts_are_a_gap() {
    for (sent, received) in [(1, 0), (0, 1)] {
        let mut program = program();
        program.accept(1).connect(2).receive(1, GET).talk(2, PING, PONG);
        program.event(EventKind::Close, 2, 0, &totals(PING.len() + sent, PONG.len() + received));
        program.send(1, OK).park();
        let session = program.one();
        assert_eq!((session.incomplete, gaps(&session)), (true, vec![false, true]));
        assert_eq!(program.assembler.gaps(), 1);
    }
}

#[test]
fn what_is_known_to_be_missing_is_not_counted_against_a_later_session() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart");
    program.flagged(flags::GAP_BEFORE).receive(1, GET).send(1, OK);
    program.event(EventKind::Close, 1, 0, &totals(3 * OK.len() + 99, 2 * GET.len()));
    let incomplete: Vec<bool> = program.delivered().iter().map(|session| session.incomplete).collect();
    assert_eq!(incomplete, [true, false]);
    assert_eq!(program.assembler.gaps(), 1);
}

#[test]
fn a_smaller_count_is_none() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK).event(EventKind::Close, 1, 0, &totals(0, 0));
    assert!(!program.one().incomplete);
}

#[test]
fn what_had_crossed_before_does_not_count() {
    let mut program = program();
    let past = [pair(v4(8080), v4(1001)), totals(700, 900)].concat();
    program.event(EventKind::Adopt, 1, 1, &past).receive(1, GET).send(1, OK);
    program.event(EventKind::Close, 1, 0, &totals(700 + OK.len(), 900 + GET.len()));
    let session = program.one();
    assert_eq!((session.incomplete, gaps(&session)), (false, vec![false]));
}

#[test]
fn only_the_last_process_that_has_it_is_believed() {
    let mut program = program();
    program.accept(1).fork(2).begin(2, 2);
    // The parent's copy is closed while the child has received what it has not told of yet.
    program.process(1).event(EventKind::Close, 1, 0, &totals(0, GET.len()));
    program.process(2).receive(1, GET).send(1, OK);
    program.event(EventKind::Close, 1, 0, &totals(OK.len(), GET.len()));
    assert!(!program.one().incomplete);
    assert_eq!(program.assembler.gaps(), 0);
}

#[test]
fn the_end_of_a_process_tells_as_well() {
    let mut program = program();
    program.accept(1).connect(2).receive(1, GET).talk(2, PING, PONG);
    program.event(EventKind::Totals, 2, 0, &totals(PING.len() + 5, PONG.len()));
    let now = program.now;
    program.assembler.process_ended(1, now);
    assert_eq!(program.assembler.gaps(), 1);
}

#[test]
fn a_shutdown_tells_of_what_was_sent() {
    let mut program = program();
    program.accept(1).receive(1, GET).send(1, OK);
    program.event(EventKind::Shutdown, 1, 1, &totals(OK.len() + 1, GET.len() + 1)).close(1);
    let session = program.one();
    assert_eq!((session.incomplete, gaps(&session)), (true, vec![true]));
}

#[test]
fn what_is_unseen_after_a_known_gap_is_told_of_that_session() {
    for (unseen, incomplete) in [(0, [true, false]), (1, [true, true])] {
        for (sent, gap) in [(true, flags::SENT), (false, 0)] {
            let mut program = program();
            program.accept(1).receive(1, GET).flagged(gap).event(EventKind::Gap, 1, 7, b"").send(1, OK);
            program.receive(1, GET).send(1, OK);
            let [missing_sent, missing_received] = if sent { [7, 0] } else { [0, 7] };
            let counts = totals(2 * OK.len() + missing_sent + unseen, 2 * GET.len() + missing_received);
            program.event(EventKind::Close, 1, 0, &counts);
            let told: Vec<bool> = program.delivered().iter().map(|session| session.incomplete).collect();
            assert_eq!(told, incomplete, "{sent} {unseen}");
            assert_eq!(program.assembler.gaps(), 1, "it is one connection");
        }
    }
}
