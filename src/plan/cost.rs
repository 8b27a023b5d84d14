//! Cost of a service: prices that the test states, and what they come to at a measured rate.

use serde::{Deserialize, Serialize};

/// Prices of the target; amounts are in `currency`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Price of one endpoint, as tested, for an hour.
    pub per_hour: Option<f64>,
    /// Currency of all prices, as written in results, such as `USD`.
    pub currency: String,
    /// Requests per second that the service is to serve in production.
    pub wanted_rate: Option<f64>,
    /// Price of a million tokens in prompts.
    pub per_million_input_tokens: Option<f64>,
    /// Price of a million tokens in completions.
    pub per_million_output_tokens: Option<f64>,
}

impl Cost {
    /// Price of a million requests at an endpoint that serves `rate` of them per second; `None`
    /// without an hourly price or at a rate of 0.
    pub fn per_million_requests(&self, rate: f64) -> Option<f64> {
        self.per_hour
            .filter(|_| rate > 0.0)
            .map(|per_hour| per_hour / (3600.0 * rate) * 1e6)
    }

    /// Number of endpoints, each serving `rate` requests per second, that serve the wanted rate;
    /// `None` without a wanted rate or at a rate of 0.
    pub fn endpoints(&self, rate: f64) -> Option<u64> {
        self.wanted_rate
            .filter(|_| rate > 0.0)
            .map(|wanted| (wanted / rate).ceil() as u64)
    }

    /// Price of the tokens of a million requests, where `requests` of them took `input_tokens` and
    /// `output_tokens`; `None` without a price of tokens or without requests.
    pub fn tokens_per_million_requests(
        &self,
        requests: u64,
        input_tokens: u64,
        output_tokens: u64,
    ) -> Option<f64> {
        if requests == 0
            || (
                self.per_million_input_tokens,
                self.per_million_output_tokens,
            ) == (None, None)
        {
            return None;
        }
        let price =
            |of: Option<f64>, tokens: u64| of.unwrap_or(0.0) * tokens as f64 / requests as f64;
        Some(
            price(self.per_million_input_tokens, input_tokens)
                + price(self.per_million_output_tokens, output_tokens),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost() -> Cost {
        let tokens = Some(2.0);
        Cost {
            per_hour: Some(7.2),
            wanted_rate: Some(1000.0),
            per_million_input_tokens: tokens,
            per_million_output_tokens: tokens,
            ..Cost::default()
        }
    }

    #[test]
    fn a_price_an_hour_is_a_price_of_so_many_requests() {
        // 7.2 an hour is 0.002 a second, in which 200 requests are served
        assert!((cost().per_million_requests(200.0).unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(
            (
                cost().endpoints(200.0),
                cost().endpoints(333.0),
                cost().endpoints(1000.0)
            ),
            (Some(5), Some(4), Some(1))
        );
    }

    #[test]
    fn nothing_served_has_no_price() {
        assert_eq!(
            (cost().per_million_requests(0.0), cost().endpoints(0.0)),
            (None, None)
        );
        assert_eq!(cost().tokens_per_million_requests(0, 1, 1), None);
        assert_eq!(Cost::default().per_million_requests(5.0), None);
    }

    #[test]
    fn tokens_are_paid_by_what_a_request_takes() {
        // 30 tokens a request
        assert_eq!(cost().tokens_per_million_requests(10, 100, 200), Some(60.0));
        assert_eq!(
            Cost {
                per_million_input_tokens: None,
                ..cost()
            }
            .tokens_per_million_requests(10, 100, 200),
            Some(40.0)
        );
        assert_eq!(
            Cost::default().tokens_per_million_requests(10, 100, 200),
            None
        );
    }
}
