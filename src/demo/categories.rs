//! Categories of texts: a text belongs to the one with most of its words in a small table.

use std::fmt;

/// Category of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    /// Ball games, teams, tournaments.
    Sports,
    /// Elections, laws, governments.
    Politics,
    /// Computers, software, networks.
    Tech,
    /// Markets, money, trade.
    Business,
    /// Texts without a word of any other category.
    Other,
}

/// Categories that have words, in the order of the enum. When two of them have as many words in a
/// text, the first wins.
const SCORED: [Category; 4] = [
    Category::Sports,
    Category::Politics,
    Category::Tech,
    Category::Business,
];

/// Bytes of the longest word in the table; shorter words are lower-cased on the stack, and longer
/// ones have no category.
const LONGEST_WORD: usize = 12;

impl Category {
    /// Finds the category of a text; letter case does not matter.
    pub(super) fn of(text: &str) -> Category {
        let mut scores = [0_u32; SCORED.len()];
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            let mut lower = [0_u8; LONGEST_WORD];
            let Some(lower) = lower.get_mut(..word.len()) else {
                continue;
            };
            lower.copy_from_slice(word.as_bytes());
            lower.make_ascii_lowercase();
            if let Some(category) = of_word(lower) {
                scores[category as usize] += 1;
            }
        }
        let best = scores.iter().copied().max().unwrap_or(0);
        match scores.iter().position(|score| *score == best) {
            Some(place) if best > 0 => SCORED[place],
            _ => Category::Other,
        }
    }

    /// Returns the name of the category, as answers have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Category::Sports => "sports",
            Category::Politics => "politics",
            Category::Tech => "tech",
            Category::Business => "business",
            Category::Other => "other",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn of_word(word: &[u8]) -> Option<Category> {
    Some(match word {
        b"football" | b"soccer" | b"tennis" | b"basketball" | b"team" | b"match" | b"goal"
        | b"league" | b"coach" | b"player" | b"olympic" | b"tournament" | b"won" | b"scored" => {
            Category::Sports
        }
        b"election" | b"parliament" | b"senate" | b"president" | b"minister" | b"vote"
        | b"voted" | b"law" | b"government" | b"party" | b"policy" | b"campaign" | b"treaty" => {
            Category::Politics
        }
        b"software" | b"computer" | b"internet" | b"chip" | b"robot" | b"kubernetes" | b"cloud"
        | b"app" | b"data" | b"model" | b"code" | b"phone" | b"ai" => Category::Tech,
        b"market" | b"markets" | b"stock" | b"shares" | b"profit" | b"bank" | b"economy"
        | b"trade" | b"inflation" | b"revenue" | b"merger" | b"investors" | b"price" => {
            Category::Business
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_known_word_is_other() {
        for text in [
            "",
            "   ",
            "hello there",
            "ünïcode — ∑",
            "antidisestablishmentarianism",
        ] {
            assert_eq!(Category::of(text), Category::Other, "{text:?}");
        }
    }

    #[test]
    fn the_category_with_most_words_wins_whatever_their_case() {
        assert_eq!(
            Category::of("The Team won the FOOTBALL match."),
            Category::Sports
        );
        assert_eq!(
            Category::of("Parliament voted on the law; the team was there."),
            Category::Politics
        );
        assert_eq!(Category::of("new software for the cloud"), Category::Tech);
        assert_eq!(
            Category::of("shares fell, investors left: inflation"),
            Category::Business
        );
    }

    #[test]
    fn a_draw_goes_to_the_first_in_the_table() {
        assert_eq!(Category::of("market goal"), Category::Sports);
    }
}
