//! Signing in, and every way it can go wrong.

use crate::harness::{House, MARISOL};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_and_is_who_they_are() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let user = browser.fetch("GET", "/api/auth/user").await;
    assert_eq!(user.status, 200, "{user}");
    assert_eq!(user.json()["id"], "555769466601213960");
    assert_eq!(user.json()["display_name"], "Marisol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_restart_because_the_log_is_replayed() {
    let mut house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    let lived = format!("{:?}", house.doorbook().app.state());
    house.restart().await;
    let mut browser = browser.at(&house);
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
    let replayed = format!("{:?}", house.doorbook().app.state());
    let users = |state: &str| state.split_once("users:").map(|(_, rest)| rest.to_owned());
    assert_eq!(users(&replayed), users(&lived));
}
