//! Regions and the distance between them.

use std::fmt;

use valv_model::RegionName;

/// The mean radius of the earth, km (IUGG). Taking the earth for a ball errs by half a percent at most.
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// One statute mile, km.
const MILE_KM: f64 = 1.609_344;

/// A place: degrees north and east.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    latitude: f64,
    longitude: f64,
}

impl Coordinates {
    /// A place from degrees: latitude from -90 to 90, longitude from -180 to 180. None: no such place.
    #[must_use]
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        // A range holds no NaN.
        let legal = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        legal.then_some(Self { latitude, longitude })
    }

    /// The way over the ground (great circle, haversine formula).
    #[must_use]
    pub fn distance(self, other: Self) -> Distance {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
        let h =
            half(a, b) + a.cos() * b.cos() * half(self.longitude.to_radians(), other.longitude.to_radians());
        // Rounding can take the term of opposite places over 1.
        Distance::km(2.0 * EARTH_RADIUS_KM * h.min(1.0).sqrt().asin())
    }
}

/// A way over the ground.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Distance(f64);

impl Distance {
    /// From kilometres.
    #[must_use]
    pub const fn km(km: f64) -> Self {
        Self(km)
    }

    /// From statute miles.
    #[must_use]
    pub const fn miles(miles: f64) -> Self {
        Self(miles * MILE_KM)
    }

    /// In kilometres.
    #[must_use]
    pub fn as_km(self) -> f64 {
        self.0
    }

    /// In statute miles.
    #[must_use]
    pub fn as_miles(self) -> f64 {
        self.0 / MILE_KM
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded down, so that a distance just short of the rule is not shown as if it kept it.
        write!(f, "{} km ({} miles)", self.as_km().floor(), self.as_miles().floor())
    }
}

/// A region of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its name, such as `eastus`.
    pub name: RegionName,
    /// The jurisdiction that data stays in, such as `United States`.
    pub geography: Box<str>,
    /// Where it is; None: not published.
    pub coordinates: Option<Coordinates>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).unwrap()
    }

    #[test]
    fn known_distances() {
        // A quarter of a meridian, and half the earth.
        let quarter = EARTH_RADIUS_KM * std::f64::consts::FRAC_PI_2;
        assert!((place(0.0, 0.0).distance(place(90.0, 0.0)).as_km() - quarter).abs() < 1e-6);
        assert!((place(0.0, 0.0).distance(place(0.0, 180.0)).as_km() - 2.0 * quarter).abs() < 1e-6);
        // Across the date line, not round the earth.
        let across = place(0.0, 179.5).distance(place(0.0, -179.5)).as_km();
        assert!((across - quarter / 90.0).abs() < 1e-6, "{across}");
        // Airports JFK and LAX: 3,983 km over a ball.
        let flight = place(40.6398, -73.7789).distance(place(33.9425, -118.4081)).as_km();
        assert!((flight - 3_974.0).abs() < 10.0, "{flight}");
    }

    #[test]
    fn no_place_outside_the_globe() {
        for (latitude, longitude) in [(90.1, 0.0), (-90.1, 0.0), (0.0, 180.1), (0.0, -180.1)] {
            assert_eq!(Coordinates::new(latitude, longitude), None);
        }
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Coordinates::new(odd, 0.0), None);
            assert_eq!(Coordinates::new(0.0, odd), None);
        }
    }

    #[test]
    fn a_mile_is_a_statute_mile() {
        assert!((Distance::miles(150.0).as_km() - 241.4016).abs() < 1e-9);
        assert_eq!(Distance::miles(149.99).to_string(), "241 km (149 miles)");
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in -90.0..=90.0f64, b in -180.0..=180.0f64, c in -90.0..=90.0f64, d in -180.0..=180.0f64) {
            let (from, to) = (place(a, b), place(c, d));
            let way = from.distance(to).as_km();
            prop_assert!((0.0..=EARTH_RADIUS_KM * std::f64::consts::PI + 1e-6).contains(&way));
            prop_assert!((way - to.distance(from).as_km()).abs() < 1e-6);
            prop_assert!(from.distance(from).as_km() < 1e-6);
        }
    }
}
