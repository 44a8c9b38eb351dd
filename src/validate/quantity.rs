//! Quantities of Kubernetes, such as `500m`, `1Gi` or `1e3`: reading and comparing.

/// A quantity in billionths, which is as fine as Kubernetes keeps them.
/// Two texts of the same amount, such as `1Gi` and `1024Mi`, are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

const BILLION: i128 = 1_000_000_000;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a quantity. `None` when the text is none, or too large to be one.
    /// What is finer than a billionth is rounded away from zero, as Kubernetes does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, suffix) = digits.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let (multiplier, exponent) = scale(suffix)?;
        let mantissa = parse_digits(whole)?
            .checked_mul(power_of_ten(fraction.len())?)?
            .checked_add(parse_digits(fraction)?)?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(9)?;
        let scaled = mantissa.checked_mul(multiplier)?;
        let billionths = if exponent >= 0 {
            scaled.checked_mul(power_of_ten(usize::try_from(exponent).ok()?)?)?
        } else {
            let divisor = power_of_ten(usize::try_from(exponent.checked_neg()?).ok()?)?;
            scaled / divisor + i128::from(scaled % divisor != 0)
        };
        Some(Self(if negative { -billionths } else { billionths }))
    }

    /// The amount in whole units (bytes for memory), rounded down.
    #[must_use]
    pub fn units(self) -> i128 {
        self.0.div_euclid(BILLION)
    }
}

/// The multiplier and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            (1, exponent.parse().ok()?)
        }
    })
}

fn parse_digits(digits: &str) -> Option<i128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

fn power_of_ten(exponent: usize) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_in_other_words_is_equal() {
        for (left, right) in [
            ("1Gi", "1024Mi"),
            ("1", "1000m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+2", "2"),
            ("0", "-0"),
            ("1Ei", "1024Pi"),
            ("2000u", "2m"),
        ] {
            assert_eq!(Amount::parse(left), Amount::parse(right), "{left} {right}");
            assert!(Amount::parse(left).is_some(), "{left}");
        }
    }

    #[test]
    fn amounts_are_ordered() {
        let amounts: Vec<_> =
            ["-1", "0", "1n", "1m", "999Mi", "1Gi", "1.1Gi"].map(Amount::parse).into();
        assert!(amounts.windows(2).all(|pair| pair[0] < pair[1]), "{amounts:?}");
        assert_eq!(Amount::parse("1Gi").unwrap().units(), 1 << 30);
        assert_eq!(Amount::parse("0.1n"), Amount::parse("1n"));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "Gi", "1Gx", "1.2.3", "1 Gi", "--1", ".", "1e", "1e+-3", "1gi", "1e99", "0x10"]
        {
            assert_eq!(Amount::parse(text), None, "{text:?}");
        }
        assert_eq!(Amount::parse(&"9".repeat(60)), None);
        assert_eq!(Amount::parse("1e-99999999999"), None);
    }
}
