//! A segment of anything is read to its end, and of what is taken for a fact nothing is lost when it
//! is written again.

use tollbridge::cdr::journal::format::{
    FOOTER_LEN, HEADER_LEN, Parsed, SegmentFooter, SegmentHeader, parse, resync, write_record,
};

pub(crate) fn check(data: &[u8]) {
    if let Some(header) = SegmentHeader::read(data) {
        let again = SegmentHeader::read(&header.to_bytes()).expect("what was written can be read");
        assert_eq!(again, header);
    }
    let mut at = if data.len() >= HEADER_LEN { HEADER_LEN } else { 0 };
    let mut seq = 0;
    loop {
        match parse(&data[at..], true) {
            Parsed::Record(record, length) => {
                assert!(length > 0);
                if let Ok(fact) = record.fact() {
                    let mut bytes = Vec::new();
                    write_record(&mut bytes, record.seq, &fact).expect("it was not too long");
                    let Parsed::Record(again, _) = parse(&bytes, true) else {
                        panic!("what was written is a record");
                    };
                    assert_eq!(again.fact().expect("so is its fact"), fact);
                }
                seq = record.seq;
                at += length;
            }
            Parsed::Damaged => match resync(data, at + 1, seq) {
                Some(next) => {
                    assert!(next > at);
                    at = next;
                }
                None => break,
            },
            Parsed::Footer(footer) => {
                let again = SegmentFooter::read(&footer.to_bytes());
                assert_eq!(again, Some(footer));
                at += FOOTER_LEN;
            }
            Parsed::End => break,
            Parsed::Incomplete { .. } => panic!("there is no more of it"),
        }
    }
    for length in [0, 1, 7, 8, 59].into_iter().filter(|length| *length <= data.len()) {
        if let Parsed::Incomplete { needed } = parse(&data[..length], false) {
            assert!(needed > length);
        }
    }
}
