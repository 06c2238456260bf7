//! CBOR forms of the vocabulary, shared by facts, stored call records and stored decisions.

use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};
use smol_str::SmolStr;

use crate::id::{
    BuyerId, CallId, CampaignId, HoldId, PingId, PoolId, PublisherId, SessionId, TargetId, TrunkId,
};
use crate::money::{Money, RatePerMinute};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::Wall;

macro_rules! as_text {
    ($($name:ident)*) => { $(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.str().map(Self::new)
            }
        }
    )* };
}

macro_rules! as_sixteen_bytes {
    ($($name:ident)*) => { $(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                sixteen_bytes(d).map(Self::from_bytes)
            }
        }
    )* };
}

as_text! { TrunkId PublisherId BuyerId TargetId CampaignId PoolId }
as_sixteen_bytes! { CallId PingId SessionId HoldId }

macro_rules! as_integer {
    ($($name:ident)*) => { $(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.i64(self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.i64().map(Self)
            }
        }
    )* };
}

as_integer! { Money RatePerMinute Wall }

impl<C> Encode<C> for PhoneNumber {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u64(self.digits())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for PhoneNumber {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::from_digits(d.u64()?).ok_or_else(|| DecodeError::message("no telephone number"))
    }
}

impl<C> Encode<C> for Reason {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(self.code())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Reason {
    /// A code that a newer version added reads as [`Reason::InternalError`]: the fact counts, only
    /// its reason is unknown here.
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Ok(Self::from_code(d.str()?).unwrap_or(Self::InternalError))
    }
}

fn sixteen_bytes(d: &mut Decoder<'_>) -> Result<[u8; 16], DecodeError> {
    d.bytes()?.try_into().map_err(|_| DecodeError::message("id is not 16 bytes long"))
}

/// `SmolStr` as text.
pub(crate) mod text {
    use super::{DecodeError, Decoder, EncodeError, Encoder, SmolStr, Write};

    pub(crate) fn encode<C, W: Write>(
        text: &SmolStr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(text.as_str())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<SmolStr, DecodeError> {
        d.str().map(SmolStr::new)
    }
}

/// `Option<SmolStr>` as text or null.
pub(crate) mod optional_text {
    use super::{DecodeError, Decoder, EncodeError, Encoder, SmolStr, Write};

    pub(crate) fn encode<C, W: Write>(
        text: &Option<SmolStr>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match text {
            Some(text) => e.str(text.as_str())?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Option<SmolStr>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.skip().map(|()| None);
        }
        d.str().map(|text| Some(SmolStr::new(text)))
    }

    pub(crate) fn nil() -> Option<Option<SmolStr>> {
        Some(None)
    }

    pub(crate) fn is_nil(text: &Option<SmolStr>) -> bool {
        text.is_none()
    }
}

/// `Bytes` as a byte string.
pub(crate) mod blob {
    use bytes::Bytes;

    use super::{DecodeError, Decoder, EncodeError, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        bytes: &Bytes,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Bytes, DecodeError> {
        d.bytes().map(Bytes::copy_from_slice)
    }
}

/// Pairs of name and value as one flat array of texts.
pub(crate) mod tags {
    use super::{DecodeError, Decoder, EncodeError, Encoder, SmolStr, Write};

    pub(crate) fn encode<C, W: Write>(
        tags: &Vec<(SmolStr, SmolStr)>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(2 * tags.len() as u64)?;
        for (name, value) in tags {
            e.str(name)?.str(value)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<(SmolStr, SmolStr)>, DecodeError> {
        let texts = d.array()?.ok_or_else(|| DecodeError::message("tags of unknown length"))?;
        let pair = |d: &mut Decoder<'_>| Ok((SmolStr::new(d.str()?), SmolStr::new(d.str()?)));
        (0..texts / 2).map(|_| pair(d)).collect()
    }
}

/// Tags by name, in the same form as [`tags`].
pub(crate) mod tag_map {
    use std::collections::BTreeMap;

    use super::{DecodeError, Decoder, EncodeError, Encoder, SmolStr, Write};

    pub(crate) fn encode<C, W: Write>(
        tags: &BTreeMap<SmolStr, SmolStr>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(2 * tags.len() as u64)?;
        for (name, value) in tags {
            e.str(name)?.str(value)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        ctx: &mut C,
    ) -> Result<BTreeMap<SmolStr, SmolStr>, DecodeError> {
        super::tags::decode(d, ctx).map(BTreeMap::from_iter)
    }
}

/// A shared list of SIP status codes.
pub(crate) mod statuses {
    use std::sync::Arc;

    use super::{DecodeError, Decoder, EncodeError, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        statuses: &Arc<[u16]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(statuses.len() as u64)?;
        for status in statuses.iter() {
            e.u16(*status)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<[u16]>, DecodeError> {
        d.array_iter()?.collect()
    }
}

/// The same, or none.
pub(crate) mod optional_statuses {
    use std::sync::Arc;

    use super::{DecodeError, Decoder, EncodeError, Encoder, Write, statuses};

    pub(crate) fn encode<C, W: Write>(
        list: &Option<Arc<[u16]>>,
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match list {
            Some(list) => statuses::encode(list, e, context),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        context: &mut C,
    ) -> Result<Option<Arc<[u16]>>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        statuses::decode(d, context).map(Some)
    }

    pub(crate) fn nil() -> Option<Option<Arc<[u16]>>> {
        Some(None)
    }

    pub(crate) fn is_nil(list: &Option<Arc<[u16]>>) -> bool {
        list.is_none()
    }
}

/// A list of short texts.
pub(crate) mod texts {
    use super::{DecodeError, Decoder, EncodeError, Encoder, SmolStr, Write};

    pub(crate) fn encode<C, W: Write>(
        texts: &Vec<SmolStr>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(texts.len() as u64)?;
        for text in texts {
            e.str(text)?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<SmolStr>, DecodeError> {
        d.array_iter::<&str>()?.map(|text| text.map(SmolStr::new)).collect()
    }
}

/// Calls with their elapsed milliseconds, 20 bytes each in one byte string: a checkpoint of
/// 20,000 calls is one record.
pub(crate) mod elapsed {
    use super::{CallId, DecodeError, Decoder, EncodeError, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        live: &Vec<(CallId, u32)>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let mut packed = Vec::with_capacity(live.len() * 20);
        for (call, elapsed_ms) in live {
            packed.extend_from_slice(call.as_bytes());
            packed.extend_from_slice(&elapsed_ms.to_le_bytes());
        }
        e.bytes(&packed)?.ok()
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<(CallId, u32)>, DecodeError> {
        let (entries, rest) = d.bytes()?.as_chunks::<20>();
        if !rest.is_empty() {
            return Err(DecodeError::message("checkpoint is not a multiple of 20 bytes long"));
        }
        Ok(entries
            .iter()
            .map(|[id @ .., a, b, c, e]| {
                (CallId::from_bytes(*id), u32::from_le_bytes([*a, *b, *c, *e]))
            })
            .collect())
    }
}
