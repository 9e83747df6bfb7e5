//! Sizes in bytes, with the suffixes K, M, G and T.

use crate::reader;
use toml::de::DeValue;

/// `64M`, `1GiB`, `4096`: powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => {
            return Err(format!(
                "`{text}` is not a size, write for example 64M or 2G"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is not a size, write for example 64M or 2G"))
}

/// A number of bytes or a string for [`parse_size`].
pub(crate) fn size(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::String(text) => parse_size(text),
        DeValue::Integer(_) => reader::integer(value),
        other => Err(reader::expected("a size such as \"64M\"", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        for bad in ["", "M", "-1", "1.5G", "1X", "99999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
