//! Query parameters: every name is known, stands once, and has a value that can be read.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;

use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};

use super::error::{Code, Place, Problem};
use crate::time::Wall;

/// The parameters of a request that were not taken yet.
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn read(uri: &Uri) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|e| {
            let detail = format!("the query string cannot be read: {}", e.body_text());
            Problem::new(Code::QueryMalformed, detail)
        })?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.contains_key(&name) {
                let place = Place::Parameter(name);
                return Err(Problem::at(Code::QueryRepeated, place, "repeated", "is given twice"));
            }
            parameters.insert(name, value);
        }
        Ok(Self(parameters))
    }

    /// Takes the value of a parameter, if it was given.
    pub(super) fn take<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        self.take_with(name, |text| text.parse().map_err(|e: T::Err| e.to_string()))
    }

    /// Like [`Parameters::take`] for a name an operator gave to something.
    pub(super) fn take_name<T: for<'a> From<&'a str>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        self.take_with(name, |text| Ok(T::from(text)))
    }

    /// Takes a parameter and reads it with `read`, whose error completes "the parameter …".
    pub(super) fn take_with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        let value = if text.is_empty() { Err(String::from("is empty")) } else { read(&text) };
        value.map(Some).map_err(|detail| malformed(name, detail))
    }

    /// Leaves out a parameter that somebody else has read.
    pub(super) fn discard(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Leaves out what is there and says nothing.
    pub(super) fn discard_empty(&mut self) {
        self.0.retain(|_, value| !value.is_empty());
    }

    /// What nobody took.
    pub(super) fn rest(self) -> BTreeMap<String, String> {
        self.0
    }

    /// What is left, as one text: the same for the same parameters in any order.
    pub(super) fn fingerprint(&self) -> String {
        serde_json::to_string(&self.0).expect("a map of texts can be written")
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let Some((name, _)) = self.0.into_iter().next() else { return Ok(()) };
        let detail = "is not a parameter of this path";
        Err(Problem::at(Code::QueryUnknown, Place::Parameter(name), "unknown", detail))
    }
}

/// A parameter with a value that cannot be read; `detail` completes "the parameter …".
pub(super) fn malformed(name: &str, detail: impl Into<String>) -> Problem {
    let place = Place::Parameter(name.to_owned());
    Problem::at(Code::QueryMalformed, place, "malformed", detail)
}

/// The value of that name, of a few.
pub(super) fn one_of<T: Copy>(names: &[(&str, T)], text: &str) -> Result<T, String> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// A time as every answer writes it.
pub(super) fn instant(text: &str) -> Result<Wall, String> {
    text.parse::<jiff::Timestamp>()
        .map(|at| Wall(at.as_millisecond()))
        .map_err(|_| String::from("must be an RFC 3339 time such as 2026-03-17T15:04:12.318Z"))
}

/// How a query parameter is documented.
pub(super) fn parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(description))
        .schema(Some(schema.build()))
        .build()
}
