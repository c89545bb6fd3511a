"""identity: stations, the people who log in, what they are in which station, and the tokens that say so.

Does    makes stations, takes them out of use and back, deletes them softly, purges them; makes users, keeps
        them out, lets them in and purges them; makes memberships; checks passwords; signs access tokens.
Owns    the schema `identity`; the types identity.Station and identity.User.
Calls   bookings and payments, which refer to what it owns, before it purges; both follow its feed.
Read    domain, then usecases, then store; wire and rpc are the way in, passwords and keys the cryptography.
"""
