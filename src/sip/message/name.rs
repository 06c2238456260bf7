//! Names of header fields.

/// Declares the names we know: variant, canonical spelling, and compact form if there is one.
macro_rules! names {
    ($($variant:ident = $name:literal $(, $compact:literal)?;)*) => {
        /// A header field's name; `Other` is any this server has no use for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HeaderName { $($variant,)* Other }

        impl HeaderName {
            /// Every name but `Other`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The canonical spelling; empty for `Other`.
            #[inline]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }

            /// The one-letter form (RFC 3261 §7.3.3 and the registry of header fields).
            fn from_compact(letter: u8) -> Self {
                match letter.to_ascii_lowercase() {
                    $($($compact => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
}

names! {
    Via = "Via", b'v';
    From = "From", b'f';
    To = "To", b't';
    CallId = "Call-ID", b'i';
    CSeq = "CSeq";
    MaxForwards = "Max-Forwards";
    Contact = "Contact", b'm';
    Route = "Route";
    RecordRoute = "Record-Route";
    ContentLength = "Content-Length", b'l';
    ContentType = "Content-Type", b'c';
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Supported = "Supported", b'k';
    Unsupported = "Unsupported";
    Allow = "Allow";
    AllowEvents = "Allow-Events", b'u';
    Expires = "Expires";
    MinExpires = "Min-Expires";
    SessionExpires = "Session-Expires", b'x';
    MinSe = "Min-SE";
    PAssertedIdentity = "P-Asserted-Identity";
    PPreferredIdentity = "P-Preferred-Identity";
    PCalledPartyId = "P-Called-Party-ID";
    PChargeInfo = "P-Charge-Info";
    PChargingVector = "P-Charging-Vector";
    PAccessNetworkInfo = "P-Access-Network-Info";
    PEarlyMedia = "P-Early-Media";
    RemotePartyId = "Remote-Party-ID";
    Privacy = "Privacy";
    Diversion = "Diversion";
    HistoryInfo = "History-Info";
    Reason = "Reason";
    ReferTo = "Refer-To", b'r';
    ReferredBy = "Referred-By", b'b';
    ReferSub = "Refer-Sub";
    Replaces = "Replaces";
    Join = "Join";
    TargetDialog = "Target-Dialog";
    Event = "Event", b'o';
    SubscriptionState = "Subscription-State";
    RSeq = "RSeq";
    RAck = "RAck";
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    AuthenticationInfo = "Authentication-Info";
    Warning = "Warning";
    ErrorInfo = "Error-Info";
    RetryAfter = "Retry-After";
    Date = "Date";
    Timestamp = "Timestamp";
    Identity = "Identity", b'y';
    IdentityInfo = "Identity-Info", b'n';
    UserAgent = "User-Agent";
    Server = "Server";
    Accept = "Accept";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    AcceptContact = "Accept-Contact", b'a';
    RejectContact = "Reject-Contact", b'j';
    RequestDisposition = "Request-Disposition", b'd';
    ContentEncoding = "Content-Encoding", b'e';
    ContentLanguage = "Content-Language";
    ContentDisposition = "Content-Disposition";
    MimeVersion = "MIME-Version";
    InfoPackage = "Info-Package";
    RecvInfo = "Recv-Info";
    UserToUser = "User-to-User";
    AlertInfo = "Alert-Info";
    CallInfo = "Call-Info";
    InReplyTo = "In-Reply-To";
    Organization = "Organization";
    Priority = "Priority";
    Subject = "Subject", b's';
    SessionId = "Session-ID";
    Path = "Path";
    ServiceRoute = "Service-Route";
    FlowTimer = "Flow-Timer";
    Geolocation = "Geolocation";
    ResourcePriority = "Resource-Priority";
    SipEtag = "SIP-ETag";
    SipIfMatch = "SIP-If-Match";
}

impl HeaderName {
    /// Any case, full or compact form.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            [] => Self::Other,
            [letter] => Self::from_compact(*letter),
            [first, .., last] => {
                let candidate = SLOTS[slot(name.len(), *first, *last)];
                let spelling = candidate.name().as_bytes();
                if spelling == name || spelling.eq_ignore_ascii_case(name) {
                    candidate
                } else {
                    Self::Other
                }
            }
        }
    }

    /// Whether a field can have this name: a token (RFC 3261 §25.1).
    pub fn is_valid(name: &[u8]) -> bool {
        super::chars::is_token(name)
    }

    /// Whether one line may hold several values with commas between (RFC 3261 §7.3.1). A comma
    /// in any other field is part of its one value.
    pub fn is_list(self) -> bool {
        !matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::ContentLength
                | Self::ContentType
                | Self::Authorization
                | Self::ProxyAuthorization
                | Self::WwwAuthenticate
                | Self::ProxyAuthenticate
                | Self::AuthenticationInfo
                | Self::Date
                | Self::Identity
                | Self::IdentityInfo
                | Self::UserAgent
                | Self::Server
                | Self::Organization
                | Self::Subject
                | Self::RetryAfter
                | Self::Replaces
                | Self::Other
        )
    }

    /// Whether the field steers framing, transactions, dialogs, routing, or authentication: the
    /// ones a configured or foreign value must never add to a message (spec/sip P18).
    pub fn is_protocol(self) -> bool {
        matches!(
            self,
            Self::Via
                | Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::Contact
                | Self::Route
                | Self::RecordRoute
                | Self::Path
                | Self::ServiceRoute
                | Self::ContentLength
                | Self::ContentType
                | Self::ContentEncoding
                | Self::Require
                | Self::ProxyRequire
                | Self::Supported
                | Self::Unsupported
                | Self::Allow
                | Self::Expires
                | Self::MinExpires
                | Self::SessionExpires
                | Self::MinSe
                | Self::ReferTo
                | Self::ReferredBy
                | Self::ReferSub
                | Self::Replaces
                | Self::Join
                | Self::TargetDialog
                | Self::Event
                | Self::SubscriptionState
                | Self::RSeq
                | Self::RAck
                | Self::RetryAfter
                | Self::Authorization
                | Self::ProxyAuthorization
                | Self::WwwAuthenticate
                | Self::ProxyAuthenticate
                | Self::AuthenticationInfo
        )
    }

    pub(super) fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

/// A perfect hash over length, first and last letter; [`SLOTS`] does not compile if two names
/// meet.
const fn slot(len: usize, first: u8, last: u8) -> usize {
    (len * FACTORS.0 + (first | 0x20) as usize * FACTORS.1 + (last | 0x20) as usize * FACTORS.2)
        % SLOT_COUNT
}

/// Found by trial.
const FACTORS: (usize, usize, usize) = (216, 353, 399);

const SLOT_COUNT: usize = 512;

const SLOTS: [HeaderName; SLOT_COUNT] = {
    let mut slots = [HeaderName::Other; SLOT_COUNT];
    let mut position = 0;
    while position < HeaderName::ALL.len() {
        let header = HeaderName::ALL[position];
        let name = header.name().as_bytes();
        let slot = slot(name.len(), name[0], name[name.len() - 1]);
        assert!(
            matches!(slots[slot], HeaderName::Other),
            "two header names meet in one slot: choose other factors"
        );
        slots[slot] = header;
        position += 1;
    }
    slots
};

const _: () = assert!(HeaderName::ALL.len() < 128, "the set of present names is a u128");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for name in HeaderName::ALL {
            assert_eq!(HeaderName::from_bytes(name.name().as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(name.name().to_lowercase().as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(name.name().to_uppercase().as_bytes()), *name);
        }
    }

    #[test]
    fn compact_forms_are_their_long_names() {
        for (letters, name) in [
            (b"iI", HeaderName::CallId),
            (b"mM", HeaderName::Contact),
            (b"eE", HeaderName::ContentEncoding),
            (b"lL", HeaderName::ContentLength),
            (b"cC", HeaderName::ContentType),
            (b"fF", HeaderName::From),
            (b"sS", HeaderName::Subject),
            (b"kK", HeaderName::Supported),
            (b"tT", HeaderName::To),
            (b"vV", HeaderName::Via),
            (b"rR", HeaderName::ReferTo),
            (b"bB", HeaderName::ReferredBy),
            (b"oO", HeaderName::Event),
            (b"uU", HeaderName::AllowEvents),
            (b"xX", HeaderName::SessionExpires),
            (b"dD", HeaderName::RequestDisposition),
            (b"jJ", HeaderName::RejectContact),
            (b"yY", HeaderName::Identity),
            (b"aA", HeaderName::AcceptContact),
        ] {
            for letter in letters {
                assert_eq!(HeaderName::from_bytes(&[*letter]), name);
            }
        }
    }

    #[test]
    fn what_merely_looks_like_a_name_is_other() {
        for name in ["", "z", "Vía", "Fram", "C%6Fntact", "X-Call-ID", "Call-IDs"] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
