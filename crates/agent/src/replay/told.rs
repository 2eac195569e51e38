//! Which of several equal calls was a session's, told by what the session answered.
//!
//! Where sessions overlapped on one connection (an event loop, a client that all threads share), nothing tells whose a
//! call was. Equal calls may still have been answered with other values, as `INCR` is; and whoever got a value often
//! handed it on. So of equal calls those come first whose answers are in what the session has answered; as long as the
//! answers are of one form. Who asked a cache in vain, and then has said what another one found there, has not found it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::replay::talks::Talk;

/// Bytes of an answer in which words are looked for.
const MOST_TEXT: usize = 64 << 10;

/// Puts, of equal calls with unequal answers of one form, first those of whose answers most is in `response`, an HTTP
/// response or whatever the session has answered. All else stays where it was.
pub fn sort(talks: &mut [Arc<Talk>], response: &[u8]) {
    let told: HashSet<&[u8]> = words(body(response)).collect();
    for places in equal(talks) {
        let mut sorted: Vec<Arc<Talk>> =
            places.iter().filter_map(|place| talks.get(*place)).cloned().collect();
        let found = sorted.clone();
        let mut count: HashMap<&[u8], usize> = HashMap::new();
        for word in found.iter().flat_map(|talk| words(&talk.response).collect::<HashSet<_>>()) {
            *count.entry(word).or_default() += 1;
        }
        let is_own = |word: &[u8]| count.get(word) != Some(&found.len());
        sorted.sort_by_cached_key(|talk| Reverse(share(&talk.response, is_own, &told)));
        for (place, talk) in places.into_iter().zip(sorted) {
            if let Some(slot) = talks.get_mut(place) {
                *slot = talk;
            }
        }
    }
}

/// The places of calls that ask for the same and were answered otherwise, in the same form.
fn equal(talks: &[Arc<Talk>]) -> Vec<Vec<usize>> {
    let mut asked: HashMap<(&str, &[u8]), Vec<usize>> = HashMap::new();
    for (place, talk) in talks.iter().enumerate().filter(|(_, talk)| !talk.request.is_empty()) {
        asked.entry((&talk.peer, &talk.request)).or_default().push(place);
    }
    let mut equal = Vec::new();
    for places in asked.into_values().filter(|places| places.len() > 1) {
        let mut forms: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for place in places {
            let Some(talk) = talks.get(place) else { continue };
            forms.entry(form(&talk.response)).or_default().push(place);
        }
        equal.extend(forms.into_values());
    }
    equal.retain(|places| {
        let mut answers = places.iter().filter_map(|place| talks.get(*place)).map(|talk| &talk.response);
        let first = answers.next();
        answers.any(|answer| Some(answer) != first)
    });
    equal
}

/// Of the words of an answer that not all of them have, how many of a thousand were told.
fn share(answer: &[u8], is_own: impl Fn(&[u8]) -> bool, told: &HashSet<&[u8]>) -> u64 {
    let own: HashSet<&[u8]> = words(answer).filter(|word| is_own(word)).collect();
    let known = own.iter().filter(|word| told.contains(*word)).count();
    (known * 1000).checked_div(own.len()).unwrap_or_default() as u64
}

/// What stands behind the head of an HTTP response: dates and lengths are in nobody's answer.
fn body(response: &[u8]) -> &[u8] {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
    response.get(end..).unwrap_or_default()
}

/// What an answer has besides its words.
fn form(answer: &[u8]) -> Vec<u8> {
    let mut form = answer.get(..MOST_TEXT).unwrap_or(answer).to_vec();
    form.iter_mut().filter(|byte| is_of_a_word(**byte)).for_each(|byte| *byte = b'w');
    form.dedup_by(|one, other| *one == b'w' && *other == b'w');
    form
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.get(..MOST_TEXT).unwrap_or(text);
    text.split(|byte| !is_of_a_word(*byte)).filter(|word| !word.is_empty())
}

fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(index: u32, request: &str, response: &str) -> Arc<Talk> {
        let talk = Talk::simulated(request.as_bytes().to_vec(), response.as_bytes().to_vec());
        Arc::new(Talk { action_index: index, ..talk })
    }

    fn sorted(talks: &[Arc<Talk>], response: &str) -> Vec<u32> {
        let mut talks = talks.to_vec();
        sort(&mut talks, response.as_bytes());
        talks.iter().map(|talk| talk.action_index).collect()
    }

    #[test]
    fn who_told_a_number_has_asked_for_it() {
        let talks = [
            talk(0, "INCR a", ":3\r\n"),
            talk(1, "GET b", "$1\r\n9\r\n"),
            talk(2, "INCR a", ":4\r\n"),
            talk(3, "INCR a", ":5\r\n"),
        ];
        let response =
            |n: u32| format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: 4 5\r\n\r\n{{\"n\":{n}}}");
        assert_eq!(sorted(&talks, &response(3)), [0, 1, 2, 3]);
        assert_eq!(sorted(&talks, &response(4)), [2, 1, 0, 3]);
        assert_eq!(sorted(&talks, &response(5)), [3, 1, 0, 2]);
        assert_eq!(sorted(&talks, &response(6)), [0, 1, 2, 3], "then their order decides");
    }

    #[test]
    fn the_answer_of_which_more_was_told_is_the_one() {
        let talks = [
            talk(0, "GET user", "{\"name\":\"bob\",\"age\":30}"),
            talk(1, "GET user", "{\"name\":\"eve\",\"age\":30}"),
        ];
        assert_eq!(sorted(&talks, "\r\n\r\n{\"hello\":\"eve\",\"age\":30}"), [1, 0]);
        assert_eq!(sorted(&talks, "hello bob"), [0, 1]);
        assert_eq!(sorted(&talks, ""), [0, 1]);
    }

    #[test]
    fn who_found_nothing_may_have_told_what_another_one_found() {
        let talks = [talk(0, "GET user", "$-1\r\n"), talk(1, "GET user", "$3\r\nbob\r\n")];
        assert_eq!(sorted(&talks, "hello bob"), [0, 1]);
    }
}
