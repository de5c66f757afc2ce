//! Guarded apps behind real proxies: nginx and Caddy as they are installed, with the configurations in `deploy/`.
//!
//! Each story is told behind both. Traefik's requests are replayed in `traefik.rs`.

mod doors;
mod echo;
mod forgery;
mod street;
mod traefik;
mod trouble;
mod visitor;

/// Tells each story once behind nginx and once behind Caddy.
macro_rules! behind_both {
    ($($room:ident::$story:ident,)*) => {
        mod nginx {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs nginx; .ci/run installs it"]
                async fn $story() {
                    super::$room::$story(super::street::Kind::Nginx).await;
                }
            )*
        }

        mod caddy {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs caddy; .ci/run installs it"]
                async fn $story() {
                    super::$room::$story(super::street::Kind::Caddy).await;
                }
            )*
        }
    };
}

behind_both! {
    doors::somebody_who_may_reaches_the_app_and_it_is_told_who,
    doors::a_stranger_is_sent_to_sign_in_and_comes_back_to_the_page,
    doors::a_script_a_socket_and_a_form_are_told_and_not_sent_along,
    doors::whoever_lacks_the_role_is_refused_and_told_so,
    doors::a_role_that_is_lost_closes_the_door_within_minutes,
    doors::a_role_that_is_gained_opens_the_door_at_the_next_check,
    doors::a_ticket_takes_a_session_to_another_root_domain,
    doors::a_public_page_asks_nothing_and_the_app_hears_of_nobody,
    doors::a_host_without_a_rule_is_closed_to_everybody,
    doors::an_app_with_an_example_hears_what_it_listens_to_and_nothing_more,
    doors::the_link_that_signs_out_closes_the_door,
    forgery::what_a_client_says_of_its_request_changes_nothing,
    forgery::who_a_client_says_it_is_never_reaches_the_app,
    forgery::two_hosts_in_one_request_are_judged_and_served_as_one,
    forgery::a_path_that_can_be_read_in_two_ways_opens_nothing,
    forgery::a_query_is_no_path,
    forgery::no_cookie_of_doorbook_reaches_the_app,
    forgery::only_a_proxy_may_ask_what_a_proxy_asks,
    trouble::more_roles_than_fit_are_cut_and_pass,
    trouble::a_long_address_is_come_back_to,
    trouble::a_body_is_never_waited_for_and_a_connection_stays_in_step,
    trouble::an_upload_passes_whatever_its_size,
    trouble::while_doorbook_is_down_nobody_comes_in,
    trouble::while_discord_is_down_those_who_are_known_stay_in,
}
