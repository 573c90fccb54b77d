//! The paths that there are.

/// What a request is for; the name is the label in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /v1/{table}/{key}`
    Get,
    /// `POST /v1/{table}:mget`
    Mget,
    /// `GET /v1/{table}`
    Table,
    /// `GET /health`
    Health,
    /// `GET /ready`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
    /// Any other path.
    Unknown,
    /// A path with a method that it does not know.
    OtherMethod,
}

impl Route {
    /// All of them, each at its own number.
    pub const ALL: &'static [Self] = &[
        Self::Get,
        Self::Mget,
        Self::Table,
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::OpenApi,
        Self::Unknown,
        Self::OtherMethod,
    ];

    /// The word in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Mget => "mget",
            Self::Table => "table",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::OpenApi => "openapi",
            Self::Unknown => "unknown",
            Self::OtherMethod => "other_method",
        }
    }

    /// Whether anybody may ask: probes have no tokens, and learn nothing but yes or no.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_stands_at_its_number() {
        for (index, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, index, "{route:?}");
        }
    }
}
