//! Prices.

use super::Problems;
use crate::crd::spec::CostSpec;
use crate::plan::Cost;

pub(super) fn check_cost(cost: &CostSpec, problems: &mut Problems) -> Cost {
    let CostSpec { per_hour, currency, wanted_rate } = cost;
    if per_hour.is_some_and(|price| !price.is_finite() || price < 0.0) {
        problems.add("spec.cost.perHour", "is no price");
    }
    if per_hour.is_none() && wanted_rate.is_none() {
        problems.add("spec.cost", "says nothing: give perHour or wantedRate");
    }
    if wanted_rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        problems.add("spec.cost.wantedRate", "must be more than nothing");
    }
    Cost { per_hour: *per_hour, currency: currency.clone(), wanted_rate: *wanted_rate, ..Cost::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(cost: serde_json::Value) -> Vec<String> {
        let mut problems = Problems::default();
        check_cost(&serde_json::from_value::<CostSpec>(cost).unwrap(), &mut problems);
        problems.0.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn what_is_no_price_is_refused() {
        assert_eq!(refused(json!({})), ["spec.cost"]);
        assert_eq!(refused(json!({"perHour": -1})), ["spec.cost.perHour"]);
        assert_eq!(refused(json!({"perHour": 1, "wantedRate": 0})), ["spec.cost.wantedRate"]);
        assert_eq!(refused(json!({"wantedRate": 0.5})), [""; 0]);
    }
}
