//! Which header fields go from one leg to the other, and which are added (spec/sip B3, C11).
//!
//! Nothing passes that is not listed, and nothing can be listed that belongs to one leg alone.

use smol_str::SmolStr;

use super::config::HeaderPolicy;
use super::template::{Scope, Template};
use super::{Lines, PolicyFault, Source};
use crate::sip::message::{HeaderName, Headers};

/// A header policy, ready for use. The default lets nothing pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    pass: Vec<Passed>,
    add: Vec<(SmolStr, Template)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Passed {
    name: Pattern,
    /// The name under which it goes on, if it is another.
    rename: Option<SmolStr>,
}

#[derive(Clone, Debug, PartialEq)]
enum Pattern {
    Known(HeaderName),
    /// A name this server has no use for.
    Other(SmolStr),
    /// `X-Acme-` of `X-Acme-*`.
    Beginning(SmolStr),
}

/// Fields of ours that no policy touches: the loop token names the nodes a call has passed.
const OWN: &str = "X-Loop-Token";

impl HeaderRules {
    /// `constants` are template variables whose value is known already.
    ///
    /// # Errors
    /// All names that cannot pass or be added, and templates that cannot be read.
    pub fn compile(
        policy: &HeaderPolicy,
        scope: Scope,
        constants: &[(&str, &str)],
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let mut pass = Vec::new();
        for (position, name) in policy.pass.iter().enumerate() {
            let field = format!("headers.pass[{position}]");
            match Pattern::compile(name) {
                Ok(pattern) => {
                    let rename = policy.rename.get(name).cloned();
                    pass.push(Passed { name: pattern, rename });
                }
                Err((problem, remedy)) => {
                    faults.push(PolicyFault::new(field, name.as_str(), problem, remedy));
                }
            }
        }
        for (from, to) in &policy.rename {
            let field = || format!("headers.rename.{from}");
            if !policy.pass.contains(from) || from.ends_with('*') {
                faults.push(PolicyFault::new(
                    field(),
                    to.as_str(),
                    "renames what is not passed by its full name",
                    "list the name in headers.pass as it stands here",
                ));
            }
            if let Err((problem, remedy)) = writable(to) {
                faults.push(PolicyFault::new(field(), to.as_str(), problem, remedy));
            }
        }
        let mut add = Vec::new();
        for (name, text) in &policy.add {
            let field = || format!("headers.add.{name}");
            if let Err((problem, remedy)) = writable(name) {
                faults.push(PolicyFault::new(field(), name.as_str(), problem, remedy));
                continue;
            }
            match Template::compile(text, scope, constants) {
                Ok(template) => add.push((name.clone(), template)),
                Err((problem, remedy)) => {
                    faults.push(PolicyFault::new(field(), text.as_str(), problem, remedy));
                }
            }
        }
        if faults.is_empty() { Ok(Self { pass, add }) } else { Err(faults) }
    }

    /// Whether nothing passes and nothing is added.
    pub fn is_empty(&self) -> bool {
        self.pass.is_empty() && self.add.is_empty()
    }

    /// Whether a template speaks of what only the server knows.
    pub fn wants_variables(&self) -> bool {
        self.add.iter().any(|(_, template)| template.wants_variables())
    }

    pub(super) fn adds(&self, name: HeaderName) -> bool {
        self.add.iter().any(|(added, _)| HeaderName::from_bytes(added.as_bytes()) == name)
    }

    /// Appends what goes on of `of` and what is added. `hidden`: the caller must not be named.
    pub(super) fn write(
        &self,
        of: &Headers,
        hidden: bool,
        source: Option<&Source<'_>>,
        lines: &mut Lines,
    ) {
        let mut added = Lines::new();
        for (name, template) in &self.add {
            added.extend(template.render(of, hidden, source).map(|value| (name.clone(), value)));
        }
        if !self.pass.is_empty() {
            for (known, written, value) in of.iter() {
                let Some(passed) = self.pass.iter().find(|it| it.name.matches(known, written))
                else {
                    continue;
                };
                let own = || {
                    if known == HeaderName::Other {
                        SmolStr::from(String::from_utf8_lossy(written))
                    } else {
                        SmolStr::new_static(known.name())
                    }
                };
                let name = passed.rename.clone().unwrap_or_else(own);
                let is_added = |(added, _): &(SmolStr, _)| added.eq_ignore_ascii_case(&name);
                if !added.iter().any(is_added) {
                    lines.push((name, of.slice_of(value)));
                }
            }
        }
        lines.extend(added);
    }
}

impl Pattern {
    fn compile(name: &str) -> Result<Self, (&'static str, &'static str)> {
        if let Some(beginning) = name.strip_suffix('*') {
            let is_extension = beginning.get(..2).is_some_and(|it| it.eq_ignore_ascii_case("x-"));
            return if is_extension && HeaderName::is_valid(beginning.as_bytes()) {
                Ok(Self::Beginning(beginning.into()))
            } else {
                Err(("passes fields nobody has named", "write full names, or a beginning as X-*"))
            };
        }
        writable(name)?;
        let known = HeaderName::from_bytes(name.as_bytes());
        if matches!(known, HeaderName::Diversion | HeaderName::HistoryInfo) {
            return Err((
                "names hosts of the other leg",
                "use identity.diversion or identity.history_info, which replace them",
            ));
        }
        let is_other = known == HeaderName::Other;
        Ok(if is_other { Self::Other(name.into()) } else { Self::Known(known) })
    }

    fn matches(&self, known: HeaderName, written: &[u8]) -> bool {
        match self {
            Self::Known(name) => *name == known,
            Self::Other(name) => {
                known == HeaderName::Other && written.eq_ignore_ascii_case(name.as_bytes())
            }
            Self::Beginning(beginning) => {
                known == HeaderName::Other
                    && written
                        .get(..beginning.len())
                        .is_some_and(|it| it.eq_ignore_ascii_case(beginning.as_bytes()))
                    && !written.eq_ignore_ascii_case(OWN.as_bytes())
            }
        }
    }
}

/// Whether a policy may write a field of this name; if not, problem and remedy.
fn writable(name: &str) -> Result<(), (&'static str, &'static str)> {
    if !HeaderName::is_valid(name.as_bytes()) {
        return Err(("is no name of a header field", "write letters, digits and hyphens"));
    }
    let known = HeaderName::from_bytes(name.as_bytes());
    let belongs_to_the_hop = matches!(
        known,
        HeaderName::UserAgent
            | HeaderName::Server
            | HeaderName::AllowEvents
            | HeaderName::MinExpires
            | HeaderName::MimeVersion
            | HeaderName::ContentDisposition
            | HeaderName::ContentLanguage
            | HeaderName::Accept
            | HeaderName::AcceptEncoding
            | HeaderName::Timestamp
            | HeaderName::InfoPackage
            | HeaderName::RecvInfo
            | HeaderName::FlowTimer
            | HeaderName::SipEtag
            | HeaderName::SipIfMatch
            | HeaderName::Warning
    );
    if known.is_protocol() || belongs_to_the_hop || name.eq_ignore_ascii_case(OWN) {
        return Err((
            "is a field that each leg has of its own",
            "leave it out; a value of yours goes into a field such as X-Acme-Ref",
        ));
    }
    let tells_who_calls = matches!(
        known,
        HeaderName::PAssertedIdentity
            | HeaderName::PPreferredIdentity
            | HeaderName::RemotePartyId
            | HeaderName::Privacy
            | HeaderName::Identity
            | HeaderName::IdentityInfo
    );
    if tells_who_calls {
        return Err(("tells who calls", "say in the identity table who may learn it"));
    }
    if known == HeaderName::Reason {
        return Err(("is passed on where it belongs", "leave it out"));
    }
    Ok(())
}
