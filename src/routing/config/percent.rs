//! Shares as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share in millionths. Written in percent with at most four decimals, such as `"12.5%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// Millionths of a percent point.
const POINT_PPM: u32 = 10_000;
const DECIMALS: usize = 4;

impl Percent {
    pub const WHOLE: Self = Self(100 * POINT_PPM);
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share: write it as \"12.5%\", from 0% to 100%");
        let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(wrong)?;
        let (points, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if !digits(points) || !digits(decimals) || decimals.len() > DECIMALS {
            return Err(wrong());
        }
        let points: u32 = points.parse().map_err(|_| wrong())?;
        let parts: u32 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| wrong())?;
        let ppm = points.checked_mul(POINT_PPM).and_then(|ppm| ppm.checked_add(parts));
        ppm.map(Self).filter(|share| *share <= Self::WHOLE).ok_or_else(wrong)
    }
}

/// As it is written, without needless zeros.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:04}", self.0 % POINT_PPM);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / POINT_PPM),
            decimals => write!(f, "{}.{decimals}%", self.0 / POINT_PPM),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_exactly_and_shown_as_it_is_written() {
        for (text, ppm) in
            [("0%", 0), ("100%", 1_000_000), ("12.5%", 125_000), ("0.0001%", 1), ("1.05%", 10_500)]
        {
            let share: Percent = text.parse().unwrap();
            assert_eq!((share, share.to_string().as_str()), (Percent(ppm), text));
        }
        for wrong in ["30", "0.3", "-1%", "100.1%", "1.00001%", "%", ".5%", "5.%", "x%", "4300000%"]
        {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }
}
