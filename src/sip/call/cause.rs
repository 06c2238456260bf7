//! Causes of ITU-T Q.850 for those that speak SIP only, RFC 3398 §8.2.6.1.

/// The cause that stands for a SIP status in a Reason header field (`SIP;cause=486`) or a final
/// response; `None`: the status says nothing about why the call ended.
pub fn q850_of(status: u16) -> Option<u8> {
    Some(match status {
        // A target that did not miss the call: non-selected user clearing.
        200 => 26,
        400 | 481 | 500 | 503 => 41,
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        502 => 38,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_cause_of_rfc_3398() {
        let table = [
            (404, 1),
            (486, 17),
            (480, 18),
            (603, 21),
            (484, 28),
            (503, 41),
            (408, 102),
            (501, 79),
            (505, 127),
        ];
        for (status, cause) in table {
            assert_eq!(q850_of(status), Some(cause), "{status}");
        }
        assert_eq!(q850_of(487), None, "a CANCEL says nothing about its reason");
    }
}
