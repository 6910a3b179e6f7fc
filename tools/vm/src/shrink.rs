// SPDX-License-Identifier: GPL-2.0-or-later

//! Cuts a list of causes down to the few that it takes.

use anyhow::Result;

/// The shortest list found, in `tries` calls of `fails` at most, whose items still make it fail.
///
/// Delta debugging: nothing is tried first, then parts alone, then left out, ever smaller ones.
/// `items` is taken to fail. When nothing can be left out any more, each of the items is needed.
pub fn shrink<T: Clone>(
    items: &[T],
    mut tries: usize,
    mut fails: impl FnMut(&[T]) -> Result<bool>,
) -> Result<Vec<T>> {
    let mut items = items.to_vec();
    // Perhaps none of them has anything to do with it.
    if let (false, Some(left)) = (items.is_empty(), tries.checked_sub(1)) {
        tries = left;
        if fails(&[])? {
            return Ok(Vec::new());
        }
    }
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let chunks: Vec<&[T]> = items.chunks(size).collect();
        let without = |left_out: usize| -> Vec<T> {
            let kept = chunks.iter().enumerate().filter(|(at, _)| *at != left_out);
            kept.flat_map(|(_, chunk)| chunk.to_vec()).collect()
        };
        let mut candidates: Vec<(Vec<T>, usize)> = Vec::new();
        candidates.extend(chunks.iter().map(|chunk| (chunk.to_vec(), 2)));
        // With two parts, leaving one out is trying the other alone.
        if chunks.len() > 2 {
            let fewer = (parts - 1).max(2);
            candidates.extend((0..chunks.len()).map(|at| (without(at), fewer)));
        }

        let mut smaller = None;
        for (candidate, next) in candidates {
            if tries == 0 {
                return Ok(items);
            }
            tries -= 1;
            if fails(&candidate)? {
                smaller = Some((candidate, next));
                break;
            }
        }
        match smaller {
            Some((candidate, next)) => {
                items = candidate;
                parts = next;
            }
            None if parts >= items.len() => break,
            None => parts = (2 * parts).min(items.len()),
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shrinks 0..count where all of `needed` must be there; how often it was tried.
    fn shrunk(count: u32, needed: &[u32], limit: usize) -> (Vec<u32>, usize) {
        let items: Vec<u32> = (0..count).collect();
        let mut tries = 0;
        let found = shrink(&items, limit, |candidate| {
            tries += 1;
            Ok(needed.iter().all(|item| candidate.contains(item)))
        });
        (found.unwrap(), tries)
    }

    #[test]
    fn one_cause_is_found_fast() {
        let (found, tries) = shrunk(64, &[41], 1000);
        assert_eq!(found, [41]);
        assert!(tries <= 12, "{tries} tries");
    }

    #[test]
    fn causes_far_apart_are_found() {
        assert_eq!(shrunk(50, &[0, 24, 49], 1000).0, [0, 24, 49]);
        assert_eq!(shrunk(3, &[0, 1, 2], 1000).0, [0, 1, 2]);
        assert_eq!(shrunk(1, &[0], 1000).0, [0]);
    }

    #[test]
    fn what_fails_without_a_cause_blames_none() {
        assert_eq!(shrunk(8, &[], 1000), (vec![], 1));
        assert_eq!(shrunk(0, &[], 1000), (vec![], 0));
        assert_eq!(shrunk(8, &[], 0).0.len(), 8);
    }

    #[test]
    fn the_limit_is_kept_and_the_result_still_fails() {
        let (found, tries) = shrunk(1000, &[1, 500, 998], 7);
        assert_eq!(tries, 7);
        assert!([1, 500, 998].iter().all(|item| found.contains(item)));
    }

    #[test]
    fn an_error_ends_it() {
        assert!(shrink(&[1, 2], 10, |_| anyhow::bail!("no boot")).is_err());
    }
}
