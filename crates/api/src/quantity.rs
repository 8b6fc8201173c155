//! Kubernetes quantities, read exactly as the API server reads them: `512Mi`, `1.5Gi`, `1e9`, `128974848000m`.

/// The largest quantity, at which the API server cuts off.
const MAX: u64 = i64::MAX as u64;

/// How many digits a number may have: enough for any size with any fraction, and few enough for 128 bits.
const DIGITS_MAX: usize = 36;

/// What a suffix multiplies by.
enum Scale {
    /// A power of two.
    Binary(u32),
    /// A power of ten.
    Decimal(i32),
}

/// The whole number of a quantity that is not negative, a fraction rounded up, or nothing where the text is no such
/// quantity. The grammar is that of `Quantity` in the Kubernetes API conventions.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || fraction.contains('.') || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value: u128 = digits.parse().ok()?;
    // What `value` is to be multiplied by: 10^exponent, after a power of two.
    let mut exponent = -i32::try_from(fraction.len()).ok()?;
    match scale(suffix)? {
        Scale::Binary(power) => value = value.saturating_mul(1 << power),
        Scale::Decimal(power) => exponent = exponent.saturating_add(power),
    }
    let factor = 10_u128.checked_pow(exponent.unsigned_abs());
    let value = match factor {
        Some(factor) if exponent < 0 => value.div_ceil(factor),
        Some(factor) => value.saturating_mul(factor),
        // A power beyond 128 bits makes any number too small or too large.
        None if exponent < 0 || value == 0 => u128::from(value != 0),
        None => u128::MAX,
    };
    Some(u64::try_from(value).map_or(MAX, |value| value.min(MAX)))
}

fn scale(suffix: &str) -> Option<Scale> {
    Some(match suffix {
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        "n" => Scale::Decimal(-9),
        "u" => Scale::Decimal(-6),
        "m" => Scale::Decimal(-3),
        "" => Scale::Decimal(0),
        "k" => Scale::Decimal(3),
        "M" => Scale::Decimal(6),
        "G" => Scale::Decimal(9),
        "T" => Scale::Decimal(12),
        "P" => Scale::Decimal(15),
        "E" => Scale::Decimal(18),
        _ => Scale::Decimal(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_suffix_has_its_meaning() {
        for (text, value) in [
            ("3Ki", 3 << 10),
            ("3Mi", 3 << 20),
            ("3Gi", 3 << 30),
            ("3Ti", 3 << 40),
            ("3Pi", 3 << 50),
            ("3Ei", 3 << 60),
            ("3k", 3_000),
            ("3M", 3_000_000),
            ("3G", 3_000_000_000),
            ("3T", 3_000_000_000_000),
            ("3P", 3_000_000_000_000_000),
            ("3E", 3_000_000_000_000_000_000),
            ("3e3", 3_000),
            ("3E3", 3_000),
            ("+3", 3),
            ("3000m", 3),
            ("3000000e-6", 3),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn a_fraction_is_exact_and_what_is_left_of_a_byte_is_rounded_up() {
        for (text, value) in [("1.5Gi", 3 << 29), (".5Ki", 512), ("5.", 5), ("1500m", 2), ("1n", 1), ("0.1", 1)] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_cut_off_where_the_api_server_does() {
        for text in ["8Ei", "9999999Ei", "1e19", "1e999999999", "99999999999999999999999999999Ti"] {
            assert_eq!(parse(text), Some(MAX), "{text}");
        }
        assert_eq!(parse("0e999999999"), Some(0));
        assert_eq!(parse("1e-999999999"), Some(1));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", ".", "Gi", "ten", "10 Gi", "10GB", "10gi", "1.2.3", "-1Gi", "1e", "1e1.5", "1_000", "0x10"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9.+eEinumkKMGTP-]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_whole_number_is_itself(value in 0..=MAX) {
            prop_assert_eq!(parse(&value.to_string()), Some(value));
        }
    }
}
