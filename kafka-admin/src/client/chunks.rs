//! How large one request may be.

/// The controller applies at most 10,000 records for one request; half of that leaves room for what we do not count.
/// The client library reads at most 10,000 results of one response.
const WEIGHT_MAX: usize = 5_000;
/// A thousand topics with their settings are some megabytes of response, the most that is comfortable at once.
const ITEMS_MAX: usize = 1_000;

/// Cuts `items`, in order, into requests. An item that is too heavy alone goes alone: the broker shall say so.
pub(super) fn chunks<'c, I>(items: &'c [&'c I], weight: impl Fn(&I) -> usize) -> Vec<&'c [&'c I]> {
    let mut chunks = Vec::new();
    let (mut start, mut heavy) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let weight = weight(item);
        let full = index - start == ITEMS_MAX || heavy + weight > WEIGHT_MAX;
        if full && index > start {
            chunks.extend(items.get(start..index));
            (start, heavy) = (index, 0);
        }
        heavy += weight;
    }
    chunks.extend(items.get(start..).filter(|rest| !rest.is_empty()));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(weights: &[usize]) -> Vec<usize> {
        let items: Vec<&usize> = weights.iter().collect();
        chunks(&items, |weight| *weight).iter().map(|chunk| chunk.len()).collect()
    }

    #[test]
    fn requests_are_cut_by_count_and_by_weight() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 2_100]), [1_000, 1_000, 100]);
        assert_eq!(sizes(&[2_000, 2_000, 2_000]), [2, 1]);
        assert_eq!(sizes(&[9_000, 1, 9_000]), [1, 1, 1]);
    }
}
